"""What it costs when one thread allocates and others free everything, and why.

    python tests/benchmarks/bench_remote.py [ROUNDS [SPEC...]]

The same blocks are freed by who allocated them (local), by three threads that do nothing else (remote), and by three
that have allocated a block before (own). CPU time in ns per block, the median of interleaved rounds; the ratio is the
median over the rounds' pairs. Below the lab's allocators: how often things happened in 100 blocks, in the last round.

tcmalloc collapses in two ways. A thread that never allocated has no cache: each of its frees goes alone to the central
list of the class, to a span, under a lock (``returns``). And of large classes two blocks are a batch; slots for batches
are full soon, so spans are emptied and populated by the page heap, under one lock for all.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from alloclab import machine
from alloclab.allocators import libraries_found, resolve

PROGRAM = Path(__file__).parent / "programs" / "remote_frees.c"
WHO = ("local", "remote", "own")
WORK = {64: ("1000", "500"), 1024: ("1000", "500"), 32768: ("100", "1000")}
"""Bytes of a block -> blocks of a group, groups."""
AHEAD = "6"
SPANS = ("spans_populated", "spans_emptied", "central_contended")
FIGURES = {
    "tcmalloc": ("fetches", "fetches_from_spans", "returns", "slots_full", *SPANS),
    "tcmalloc-hpaa": ("transfer_takes", "transfer_take_misses", "transfer_gives", "transfer_give_misses", *SPANS),
}


def specs() -> list[str]:
    real = [name for name in ("libtcmalloc_minimal", "libjemalloc") if name in libraries_found()]
    return ["system", *real, "tcmalloc", "tcmalloc-hpaa:cpus=4", "jemalloc"]


def run(spec: str, program: Path, who: str, size: int) -> list[float]:
    """CPU ns per block, the clock's, and the figures of 100 blocks."""
    blocks, groups = WORK[size]
    command = [str(program), who, str(size), blocks, groups, AHEAD, *FIGURES.get(spec.split(":")[0], ())]
    environment = os.environ | resolve(spec).environment()
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    cpu, clock, *figures = (float(word) for word in said.split())
    return [cpu, clock, *(100 * figure / (int(blocks) * int(groups)) for figure in figures)]


def show(spec: str, rounds: list[dict[str, list[float]]]) -> None:
    columns = f"{statistics.median(r['local'][0] for r in rounds):9.1f}"
    for who in WHO[1:]:
        ratio = statistics.median(r[who][0] / r["local"][0] for r in rounds)
        columns += f"{statistics.median(r[who][0] for r in rounds):9.1f} {ratio:6.2f}x"
    print(f"{spec:24}{columns}")
    for i, name in enumerate(FIGURES.get(spec.split(":")[0], ()), start=2):
        local, remote, own = (rounds[-1][who][i] for who in WHO)
        print(f"  {name:22}{local:9.2f}{remote:9.2f}{own:17.2f}")


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    chosen = sys.argv[2:] or specs()
    print(f"{machine.one_line(machine.describe())}\nCPU ns per block, median of {rounds} rounds; ratios to local\n")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "remote_frees"
        subprocess.run(["gcc", "-std=gnu17", "-O2", "-fno-builtin", "-pthread", PROGRAM, "-o", program], check=True)
        for size in WORK:
            print(f"{f'blocks of {size} bytes':24}{'local':>9}{'remote':>9}{'own':>17}")
            measured: dict[str, list[dict[str, list[float]]]] = {spec: [] for spec in chosen}
            for _ in range(rounds):
                for spec in chosen:
                    measured[spec].append({who: run(spec, program, who, size) for who in WHO})
            for spec in chosen:
                show(spec, measured[spec])
            print()


if __name__ == "__main__":
    main()
