"""Is this malloc correct? The rules one by one (:mod:`alloclab.check.conformance`), each in a process of its own."""
