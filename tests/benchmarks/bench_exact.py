"""What exactness costs: a drop-in against the real library whose every decision it makes.

    python tests/benchmarks/bench_exact.py ptmalloc|jemalloc [ROUNDS [TRACE...]]

Out of process, in interleaved rounds; CPU time in ns per operation, the replay loop's own included, which the null row
shows. The ratio is the median over the rounds' pairs, with its 95 % interval. Without a trace: all in traces/.
"""

from __future__ import annotations

import sys
from pathlib import Path

from alloclab.comparison.run import ROUNDS, compare
from alloclab.comparison.statistics import TIMED, Ratio, mean_time_ratio, time_ratio
from alloclab.machine import one_line
from alloclab.result import FLOOR, Comparison

RECORDINGS = Path(__file__).resolve().parents[2] / "traces"
REAL = {"ptmalloc": "system", "jemalloc": "libjemalloc", "tcmalloc": "libtcmalloc_minimal"}
MEAN_AT_MOST, EACH_AT_MOST = 1.10, 1.25
"""What it may cost over all traces and on any one."""


def figures(comparison: Comparison, trace: str, ours: str) -> tuple[list[float], Ratio]:
    """ns per operation of the real library, ours and the loop alone; and the ratio of the first two."""
    found = [comparison.find(trace, spec) for spec in (REAL[ours], ours, FLOOR)]
    values = [result.metrics[TIMED].value for result in found if result is not None and result.failure is None]
    if found[0] is None or found[1] is None or len(values) < 3:
        sys.exit(f"{trace}: {', '.join(str(r.failure) for r in found if r is not None and r.failure)}")
    ratio = time_ratio(found[1], found[0])
    assert ratio is not None
    return [float(value or 0) for value in values], ratio


def line(name: str, numbers: list[float], ratio: Ratio) -> str:
    columns = "".join(f"{number:11.2f}" for number in numbers) or " " * 33
    spread = f"[{ratio.low:.3f}-{ratio.high:.3f}]" if ratio.low is not None else ""
    return f"{name:20}{columns}{ratio.value:9.3f}x  {spread}"


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in REAL:
        sys.exit(f"which: {', '.join(REAL)}?")
    ours = sys.argv[1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    paths = [Path(p) for p in sys.argv[3:]] or sorted(RECORDINGS.glob("*.parquet"))
    comparison = compare(paths, [REAL[ours], ours], rounds=rounds)
    print(f"{one_line(comparison.machine)}\nns per operation, {rounds} rounds\n")
    print(f"{'':20}{REAL[ours]:>11}{ours:>11}{'null':>11}{'ratio':>10}")
    ratios = []
    for trace in comparison.traces:
        numbers, ratio = figures(comparison, trace, ours)
        ratios.append(ratio.value)
        print(line(trace, numbers, ratio))
    mean = mean_time_ratio(comparison, ours)
    assert mean is not None
    print(line("geometric mean", [], mean))
    kept = mean.value <= MEAN_AT_MOST and max(ratios) <= EACH_AT_MOST
    print(f"\nthe most: {max(ratios):.3f}x; {'within' if kept else 'beyond'} {MEAN_AT_MOST}x and {EACH_AT_MOST}x")


if __name__ == "__main__":
    main()
