"""Comparing allocators: running them side by side, ratios with intervals, and gates.

The room is not called ``compare``, so that the public function :func:`alloclab.compare` keeps its name to itself.
"""
