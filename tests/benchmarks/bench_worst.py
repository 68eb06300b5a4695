"""How far `alloclab worst` gets, and what its climbing is good for: medians over seeds, as Markdown.

    python tests/benchmarks/bench_worst.py [--examples 1000] [--seeds 4] [--measure fragmentation] [SPEC ...]

``kept``: as many bytes, allocated and kept. ``at random``: so many examples, without climbing. ``found``: as many, by
the search as it is. ``worst`` of all seeds."""

from __future__ import annotations

import argparse
from statistics import median

from alloclab.allocators import resolve
from alloclab.check.bounds import bounds
from alloclab.check.program import Limits
from alloclab.check.worst import Budget, search
from alloclab.report.markdown import row

SPECS = (
    "fit:policy=first,order=address",
    "fit:policy=first",
    "fit:policy=best",
    "fit:policy=worst",
    "buddy",
    "ptmalloc",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--measure", default="fragmentation")
    parser.add_argument("specs", nargs="*", default=SPECS)
    options = parser.parse_args()
    limits = Limits(operations=200, live=512 << 10, least=4 << 10, most=120 << 10)
    print(row(["", "kept", "at random", "found", "worst", "bounds"]))
    print(row([":--", "--:", "--:", "--:", "--:", ":--"]))
    for spec in options.specs:
        allocator = resolve(spec)
        found = {
            climb: [
                search(allocator, limits, options.measure, Budget(options.examples, seed=seed, climb=climb))
                for seed in range(options.seeds)
            ]
            for climb in (False, True)
        }
        kept = found[True][0]
        values = {climb: [float(worst.value.value or 0) for worst in found[climb]] for climb in found}
        figures = (float(kept.plain.value or 0), median(values[False]), median(values[True]), max(values[True]))
        known = bounds(allocator, limits, kept.metric.name, reallocs=kept.reallocs)
        said = ", ".join(f"{bound.kind} {bound.ratio:.2f}" for bound in known) or "none known"
        print(row([f"`{spec}`", *(f"{figure:.2f}" for figure in figures), said]), flush=True)


if __name__ == "__main__":
    main()
