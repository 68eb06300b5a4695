"""What the replay loop itself costs, beside what mallocs cost under it, in one run on one machine.

    python tests/benchmarks/bench_loop.py [TRACE...]

Prints CPU time in ns per operation: of the null allocator, which only counts, and of the system's malloc and the
libraries found here; the first pass of a fresh process (cold) and the best of the passes after it (warm), the smallest
of interleaved rounds; and the loop's share of each. Without a trace: the recordings of Python in traces/.
"""

from __future__ import annotations

import sys
from pathlib import Path

from alloclab.allocators import libraries_found, resolve
from alloclab.machine import describe, one_line
from alloclab.replay import Settings, time_once
from alloclab.trace import load
from alloclab.trace.compile import CompiledTrace, compile_trace

ROUNDS = 5
WARM_PASSES = 5
RECORDINGS = Path(__file__).resolve().parents[2] / "traces"


def nanoseconds(trace: CompiledTrace, specs: list[str]) -> dict[str, tuple[float, float]]:
    """(cold, warm) by spec; every round times all of them, one after the other."""
    best = dict.fromkeys(specs, (float("inf"), float("inf")))
    for _ in range(ROUNDS):
        for spec in specs:
            allocator = resolve(spec)
            cold = time_once(trace, allocator)["ns_per_op"]
            warm = time_once(trace, allocator, Settings(warm=WARM_PASSES))["ns_per_op"]
            best[spec] = (min(best[spec][0], cold), min(best[spec][1], warm))
    return best


def report(path: Path) -> None:
    trace = compile_trace(load(path))
    found = nanoseconds(trace, ["null", "system", *libraries_found()])
    floor = found["null"]
    print(f"\n{trace.name}: {trace.operations:,} operations, {trace.slots:,} slots")
    print(f"{'':24}{'cold':>8}{'warm':>8}{'loop, cold':>12}{'loop, warm':>12}")
    for spec, (cold, warm) in found.items():
        print(f"{spec:24}{cold:8.2f}{warm:8.2f}{floor[0] / cold:12.0%}{floor[1] / warm:12.0%}", flush=True)


def main() -> None:
    paths = [Path(p) for p in sys.argv[1:]] or sorted(RECORDINGS.glob("python*.parquet"))
    if not paths:
        sys.exit("no recording of Python in traces/: name a trace")
    print(f"{one_line(describe())}\nns per operation, smallest of {ROUNDS} rounds")
    for path in paths:
        report(path)


if __name__ == "__main__":
    main()
