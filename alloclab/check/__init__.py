"""Is this malloc correct? The rules one by one (:mod:`alloclab.check.conformance`), each in a process of its own; and a
search among all orders of calls (:mod:`alloclab.check.search`), which needs Hypothesis."""
