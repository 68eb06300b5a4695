"""The recorder's slowdown and what an event takes on disk.

    python tests/benchmarks/bench_record.py [ROUNDS [PROGRAM...]]

In each round every program runs with and without the recorder, in turn; the figure is the median of the rounds' ratios,
with its bootstrap interval of 95 %. A server is loaded by a client that is not recorded, and what the client takes is
the time. Standard output goes nowhere, captures go to a temporary folder in the working directory.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from alloclab import machine
from alloclab.commands.record import save
from alloclab.comparison.statistics import paired_ratio
from alloclab.native import built_file
from alloclab.record import LIBRARY, Recording, read_header

PROGRAMS = Path(__file__).parent / "programs"
CSRC = Path(__file__).parents[2] / "csrc"
PYTHON = str(Path(sys.executable).resolve())
COLUMNS = ("events", "M events/s", "slowdown", "interval", "CPU time", "interval", "B/ev captured", "B/ev at rest")


@dataclass
class Workload:
    """``socket``: where a server listens, which ``client`` then loads; else the program ends by itself."""

    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    stdin: Path = Path("/dev/null")
    client: list[str] = field(default_factory=list)
    socket: Path | None = None


@dataclass
class Times:
    """Of each round: wall and CPU seconds without the recorder and with it, and the captures' bytes."""

    wall: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    cpu: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    captured: int = 0


def workloads(folder: Path) -> dict[str, Workload]:
    """Those that this machine can run."""
    text = [PYTHON, str(PROGRAMS / "text.py"), "60"]
    found = {"python, json and re": Workload(text, {"PYTHONMALLOC": "malloc"})}
    if shutil.which("sqlite3"):
        sql = folder / "inserts.sql"
        with sql.open("w") as out:
            subprocess.run([PYTHON, PROGRAMS / "inserts.py", "80000"], stdout=out, check=True)
        found["sqlite3, inserts"] = Workload(["sqlite3", ":memory:"], stdin=sql)
    if shutil.which("redis-benchmark"):
        socket = folder / "redis"
        server = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", ""]
        load = ["redis-benchmark", "-s", str(socket), "-q", "-n", "50000", "-r", "50000", "-P", "8", "-d", "120"]
        found["redis, benchmark"] = Workload(
            server, client=[*load, "-t", "set,get,lpush,lpop,sadd,hset,zadd"], socket=socket
        )
    if shutil.which("gcc"):
        source = CSRC / "allocators" / "jemalloc" / "jemalloc.c"
        compiler = ["gcc", "-O2", "-D_GNU_SOURCE", f"-I{CSRC}", "-c", str(source), "-o", str(folder / "object.o")]
        found["gcc -O2, a C file"] = Workload(compiler)
    if shutil.which("g++"):
        program = folder / "containers"
        build = ["g++", "-O2", "-pthread", str(PROGRAMS / "containers.cpp"), "-o", str(program)]
        subprocess.run(build, check=True)
        found["g++ -O2, C++ headers"] = Workload(build)
        found["C++ containers, 2 threads"] = Workload([str(program), "250000"])
    return found


def run_once(work: Workload, env: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds; of a server the client's wall time, and the CPU time of its whole life."""
    with work.stdin.open() as source:
        begin = time.perf_counter()
        process = subprocess.Popen(work.command, env=env, stdin=source, stdout=subprocess.DEVNULL)
        if work.socket is not None:
            while not work.socket.exists():
                time.sleep(0.01)
            begin = time.perf_counter()
            subprocess.run(work.client, stdout=subprocess.DEVNULL, check=True)
            took = time.perf_counter() - begin
            process.terminate()
        _, status, used = os.wait4(process.pid, 0)
        if work.socket is None:
            took = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, work.command
    return took, used.ru_utime + used.ru_stime


def run_pair(work: Workload, captures: Path, times: Times) -> None:
    """Leaves the captures where they are."""
    shutil.rmtree(captures, ignore_errors=True)
    captures.mkdir(parents=True)
    env = dict(os.environ) | work.env
    recorded = env | {"LD_PRELOAD": str(built_file(LIBRARY)), "ALLOCLAB_RECORD_DIR": str(captures)}
    for i, environment in enumerate((env, recorded)):
        wall, cpu = run_once(work, environment)
        times.wall[i].append(wall)
        times.cpu[i].append(cpu)
    times.captured = sum(path.stat().st_blocks * 512 for path in captures.iterdir())


def at_rest(captures: Path) -> tuple[int, int, float]:
    """Events of all traces, their bytes, and the seconds that writing them took."""
    begin = time.perf_counter()
    headers = [read_header(path) for path in sorted(captures.iterdir())]
    saved = save(Recording(0, tuple(h for h in headers if h is not None)), captures.parent / "trace.parquet")
    took = time.perf_counter() - begin
    return sum(s.counts.events for s in saved), sum(s.path.stat().st_size for s in saved), took


def ratio(pair: tuple[list[float], list[float]]) -> tuple[str, str]:
    found = paired_ratio(pair[1], pair[0])
    assert found is not None
    return f"{found.value:.3f}x", "" if found.low is None else f"{found.low:.3f}-{found.high:.3f}"


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    table = Table(title="Recorder: time with it / without it")
    for name in ("program", *COLUMNS, "M/s written"):
        table.add_column(name, justify="left" if name == "program" else "right")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        works = {title: w for title, w in workloads(folder).items() if not sys.argv[2:] or title in sys.argv[2:]}
        times = {title: Times() for title in works}
        for round in range(rounds + 1):
            for i, (title, work) in enumerate(works.items()):
                run_pair(work, folder / str(i) / "captures", Times() if round == 0 else times[title])
        for i, (title, took) in enumerate(times.items()):
            events, size, writing = at_rest(folder / str(i) / "captures")
            table.add_row(
                title,
                f"{events:,}",
                f"{events / statistics.median(took.wall[0]) / 1e6:.1f}",
                *ratio(took.wall),
                *ratio(took.cpu),
                f"{took.captured / events:.2f}",
                f"{size / events:.2f}",
                f"{events / writing / 1e6:.1f}",
            )
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print(machine.one_line(machine.describe()), soft_wrap=True)


if __name__ == "__main__":
    main()
