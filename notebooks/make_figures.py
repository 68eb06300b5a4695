"""Draws the README's picture from a recording in traces/: ``make figures``."""

from __future__ import annotations

from pathlib import Path

from alloclab.allocators import libraries_found
from alloclab.comparison.run import compare
from alloclab.report.figure import write

HERE = Path(__file__).resolve().parent


def main() -> None:
    libraries = [name for name in ("libjemalloc", "libtcmalloc_minimal") if name in libraries_found()]
    allocators = ["system", "ptmalloc", "jemalloc", "tcmalloc", "tcmalloc-hpaa", "fit", "buddy", *libraries]
    comparison = compare(HERE.parent / "traces/redis.parquet", allocators, rounds=0)
    for path in write(comparison, HERE / "memory-over-time.png"):
        print(path)


if __name__ == "__main__":
    main()
