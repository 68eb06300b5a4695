"""alloclab: a userspace malloc laboratory."""
