"""The recorder's slowdown and what an event takes on disk.

    python tests/benchmarks/bench_record.py [PAIRS]

Each program runs with and without the recorder in turn; the figure is the median of the pairs' ratios. Standard output
goes nowhere, captures go to a temporary folder in the working directory.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from alloclab import machine
from alloclab.commands.record import save
from alloclab.native import built_file
from alloclab.record import LIBRARY, record

PROGRAMS = Path(__file__).parent / "programs"
PYTHON = str(Path(sys.executable).resolve())


def workloads(folder: Path) -> dict[str, tuple[list[str], dict[str, str], Path | None]]:
    """Name -> command, environment, standard input."""
    found: dict[str, tuple[list[str], dict[str, str], Path | None]] = {
        "python, json and re": ([PYTHON, str(PROGRAMS / "text.py"), "60"], {"PYTHONMALLOC": "malloc"}, None)
    }
    if shutil.which("sqlite3"):
        sql = folder / "inserts.sql"
        with sql.open("w") as out:
            subprocess.run([PYTHON, PROGRAMS / "inserts.py", "80000"], stdout=out, check=True)
        found["sqlite3, inserts"] = (["sqlite3", ":memory:"], {}, sql)
    if shutil.which("g++"):
        program = folder / "containers"
        subprocess.run(["g++", "-O2", "-pthread", str(PROGRAMS / "containers.cpp"), "-o", str(program)], check=True)
        found["C++ containers, 2 threads"] = ([str(program), "250000"], {}, None)
    return found


def run_once(command: list[str], env: dict[str, str], stdin: Path | None) -> tuple[float, float]:
    """Wall and CPU seconds."""
    with (stdin or Path("/dev/null")).open() as source:
        begin = time.perf_counter()
        process = subprocess.Popen(command, env=env, stdin=source, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        took = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return took, used.ru_utime + used.ru_stime


def slowdown(
    command: list[str], env: dict[str, str], stdin: Path | None, folder: Path, pairs: int
) -> tuple[list[float], list[float], float, int]:
    """The pairs' ratios of wall and CPU time, the median wall time without the recorder, and the captures' bytes."""
    captures = folder / "captures"
    recorded = env | {"LD_PRELOAD": str(built_file(LIBRARY)), "ALLOCLAB_RECORD_DIR": str(captures)}
    wall, cpu, plain, size = [], [], [], 0
    for _ in range(pairs + 1):
        before = run_once(command, env, stdin)
        captures.mkdir()
        after = run_once(command, recorded, stdin)
        wall.append(after[0] / before[0])
        cpu.append(after[1] / before[1])
        plain.append(before[0])
        size = sum(path.stat().st_blocks * 512 for path in captures.iterdir())
        shutil.rmtree(captures)
    return wall[1:], cpu[1:], statistics.median(plain[1:]), size


def at_rest(command: list[str], env: dict[str, str], stdin: Path | None, folder: Path) -> tuple[int, int, float]:
    """Events of the largest trace, its bytes, and the seconds that writing it took."""
    captures = folder / "captures"
    captures.mkdir()
    kept = os.dup(0), os.dup(1)
    try:
        with (stdin or Path("/dev/null")).open() as source, Path("/dev/null").open("w") as sink:
            os.dup2(source.fileno(), 0)
            os.dup2(sink.fileno(), 1)
            recording = record(command, captures, env=env)
    finally:
        for fd, number in zip(kept, (0, 1), strict=True):
            os.dup2(fd, number)
            os.close(fd)
    begin = time.perf_counter()
    first = save(recording, folder / "trace.parquet")[0]
    took = time.perf_counter() - begin
    shutil.rmtree(captures)
    return first.counts.events, first.path.stat().st_size, took


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    table = Table(title="Recorder: time with it / without it")
    for name in (
        "program",
        "events",
        "M events/s",
        "slowdown",
        "of pairs",
        "CPU time",
        "B/ev captured",
        "B/ev at rest",
        "M/s written",
    ):
        table.add_column(name, justify="left" if name == "program" else "right")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        for title, (command, extra, stdin) in workloads(folder).items():
            env = dict(os.environ) | extra
            wall, cpu, plain, captured = slowdown(command, env, stdin, folder, pairs)
            events, size, took = at_rest(command, env, stdin, folder)
            table.add_row(
                title,
                f"{events:,}",
                f"{events / plain / 1e6:.1f}",
                f"{statistics.median(wall):.3f}x",
                f"{min(wall):.2f}-{max(wall):.2f}",
                f"{statistics.median(cpu):.3f}x",
                f"{captured / events:.2f}",
                f"{size / events:.2f}",
                f"{events / took / 1e6:.1f}",
            )
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(machine.one_line(machine.describe()), soft_wrap=True)


if __name__ == "__main__":
    main()
