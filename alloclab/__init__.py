"""alloclab: a userspace malloc laboratory.

    import alloclab as al
    trace = al.load("web.parquet")
    comparison = al.compare(trace, ["system", "ptmalloc", "libjemalloc"])
    al.fidelity(trace, "ptmalloc", "system").same
    heap = al.Heap("ptmalloc", tcache=False); p = heap.malloc(100); heap.free(p); heap.bins()

Names are imported when they are first used, so that ``import alloclab`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alloclab.allocators import Allocator as Allocator
    from alloclab.allocators import lab_allocators as lab_allocators
    from alloclab.allocators import resolve as resolve
    from alloclab.comparison.fidelity import Fidelity as Fidelity
    from alloclab.comparison.fidelity import fidelity as fidelity
    from alloclab.comparison.run import compare as compare
    from alloclab.errors import AlloclabError as AlloclabError
    from alloclab.heap import Bin as Bin
    from alloclab.heap import Chunk as Chunk
    from alloclab.heap import Explanation as Explanation
    from alloclab.heap import Heap as Heap
    from alloclab.measure import METRICS as METRICS
    from alloclab.region import Regions as Regions
    from alloclab.replay import Settings as Settings
    from alloclab.report.figure import draw as draw
    from alloclab.result import Comparison as Comparison
    from alloclab.result import Result as Result
    from alloclab.result import Value as Value
    from alloclab.trace import load as load
    from alloclab.trace.parquet import Trace as Trace
    from alloclab.trace.stats import summarize as summarize

_HOMES = {
    "Allocator": "alloclab.allocators",
    "AlloclabError": "alloclab.errors",
    "Bin": "alloclab.heap",
    "Chunk": "alloclab.heap",
    "Comparison": "alloclab.result",
    "Explanation": "alloclab.heap",
    "Fidelity": "alloclab.comparison.fidelity",
    "Heap": "alloclab.heap",
    "METRICS": "alloclab.measure",
    "Regions": "alloclab.region",
    "Result": "alloclab.result",
    "Settings": "alloclab.replay",
    "Trace": "alloclab.trace.parquet",
    "Value": "alloclab.result",
    "compare": "alloclab.comparison.run",
    "draw": "alloclab.report.figure",
    "fidelity": "alloclab.comparison.fidelity",
    "lab_allocators": "alloclab.allocators",
    "load": "alloclab.trace",
    "resolve": "alloclab.allocators",
    "summarize": "alloclab.trace.stats",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'alloclab' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
