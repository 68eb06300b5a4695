"""Made-up comparisons for the tests of reports: figures of known ratios, no replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np

from alloclab.comparison.statistics import timed_value
from alloclab.measure import METRICS
from alloclab.result import FLOOR, Comparison, Result, Value

MIB = 2**20
MACHINE = {
    "alloclab": "0.1.0",
    "cpu": "Test CPU",
    "cores": 2,
    "memory_bytes": 8 * 2**30,
    "kernel": "Linux 6.1.0",
    "libc": "glibc 2.36",
    "page_bytes": 4096,
    "transparent_huge_pages": "madvise",
    "load_average": 0.25,
    "libraries": {},
}


def timeline(live: int, scale: float) -> SimpleNamespace:
    op = np.arange(0, 1000, 10)
    wave = live * np.abs(np.sin(op / 150)) * (0.3 + op / 1400)
    peak = np.maximum.accumulate(wave)
    return SimpleNamespace(
        operation=op, live=wave, mapped=peak * scale * 1.1, resident=(0.5 * peak + 0.5 * wave) * scale
    )


def made_up_result(
    trace: str,
    allocator: str,
    *,
    memory: float = 1.0,
    ns: Sequence[float] = (),
    speeds: Sequence[float] = (),
    live: int = 10 * MIB,
    failure: str | None = None,
    **metrics: Value,
) -> Result:
    """A result whose memory figures are ``memory`` times the live peak, and whose timed rounds are ``ns``. With
    ``speeds`` it is of a concurrent replay."""
    figures = {name: Value(None, m.unit, reason="made up") for name, m in METRICS.items()}
    if failure is None:
        figures |= {
            "peak_live_bytes": Value(live, "bytes"),
            "peak_mapped_bytes": Value(int(live * memory * 1.1), "bytes"),
            "peak_resident_bytes": Value(int(live * memory), "bytes"),
            "fragmentation_resident_1": Value(memory * 1.2, "ratio"),
            "minor_faults": Value(int(live * memory) // 4096, "faults"),
            "ns_per_op": timed_value(ns),
            "ops_per_second": timed_value(speeds, "ops/s"),
        }
        figures |= {f"calls_{kind}": Value(int(100 * memory), "calls") for kind in ("brk", "mmap", "munmap")}
        figures |= {f"calls_{kind}": Value(0, "calls") for kind in ("mremap", "madvise", "mprotect")}
    return Result(
        trace=trace,
        allocator=allocator,
        mode="concurrent" if speeds else "serial",
        touch="page",
        verified=failure is None and allocator != FLOOR,
        ops=1_234_567,
        metrics=figures | metrics,
        failure=failure,
        rounds=tuple(ns) if failure is None else (),
        speeds=tuple(speeds) if failure is None else (),
        memory_runs=5 if speeds else 1,
        timeline=timeline(live, memory) if failure is None else None,
    )


def rounds_around(ns: float, count: int = 10, spread: float = 0.01) -> tuple[float, ...]:
    """Timings of known middle: evenly spread by +- ``spread``."""
    return tuple(ns * (1 + spread * step) for step in np.linspace(-1, 1, count))


def made_up(traces: Sequence[str], allocators: Mapping[str, tuple[float, float]]) -> Comparison:
    """``allocators``: spec -> (memory as a multiple of live, ns per operation); the floor is added."""
    results = [
        made_up_result(trace, spec, memory=memory, ns=rounds_around(ns))
        for trace in traces
        for spec, (memory, ns) in {**allocators, FLOOR: (0.01, 4.5)}.items()
    ]
    return Comparison(MACHINE, tuple(results))
