"""Makes the recordings of this folder again: ``python3 traces/make.py [NAME ...]`` from the repository.

The recorder is installed as a wheel into an environment of its own (an editable install would add thousands of calls to
every Python process), and each program runs under it in a temporary folder. Programs that are not installed are named and
left out. A recording of more than ``MOST_EVENTS`` becomes a prefix: what is live at the cut stays live.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE / "programs"
MOST_EVENTS = 400_000
PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class Recording:
    """A command to record; ``prepare`` runs before it, unrecorded; ``{programs}`` and ``{source}`` are folders."""

    name: str
    command: str
    needs: tuple[str, ...]
    prepare: str = ""
    environment: dict[str, str] = field(default_factory=dict)


RECORDINGS = [
    Recording("python", f"{PYTHON} {{programs}}/documents.py", (PYTHON,), environment={"PYTHONMALLOC": "malloc"}),
    Recording("python-pymalloc", f"{PYTHON} {{programs}}/documents.py", (PYTHON,)),
    Recording("perl", "perl {programs}/words.pl", ("perl",)),
    Recording("cc1", "gcc -O2 -c -I{source}/csrc {source}/csrc/region/region.c -o region.o", ("gcc",)),
    Recording("git", "git -C copy log --stat -p", ("git",), prepare="git clone --quiet {source} copy"),
    Recording("sqlite", "sqlite3 :memory: '.read {programs}/orders.sql'", ("sqlite3",)),
    Recording(
        "containers", "./containers", ("g++",), prepare="g++ -O2 -pthread {programs}/containers.cpp -o containers"
    ),
    Recording("node", "node {programs}/server.js", ("node",)),
    Recording("bash", "bash {programs}/log.sh", ("bash",)),
    Recording(
        "sed",
        "sed -E -f {programs}/reword.sed text",
        ("sed",),
        prepare="man -P cat bash >text 2>/dev/null || cp {programs}/words.pl text",
    ),
    Recording(
        "objdump",
        "objdump -dlS containers",
        ("objdump", "g++"),
        prepare="g++ -g -O2 -pthread {programs}/containers.cpp -o containers",
    ),
]


def install(folder: Path) -> Path:
    """A wheel of this checkout in an environment of its own; returns its ``alloclab``."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/pip", "install", "--quiet", HERE.parent], check=True)
    return folder / "bin/alloclab"


def record(alloclab: Path, recording: Recording, out: Path, folder: Path) -> None:
    places = {"programs": PROGRAMS, "source": HERE.parent}
    if recording.prepare:
        subprocess.run(recording.prepare.format(**places), shell=True, cwd=folder, check=True)
    command = f"exec {alloclab} record -o {out} -- {recording.command.format(**places)}"
    environment = os.environ | recording.environment | {"GIT_PAGER": "cat"}
    subprocess.run(command, shell=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)


def record_redis(alloclab: Path, out: Path, folder: Path) -> None:
    """redis-server with two I/O threads, loaded by redis-benchmark over loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    server = [
        str(alloclab),
        "record",
        "-o",
        str(out),
        "--",
        "redis-server",
        "--port",
        port,
        "--save",
        "",
        "--io-threads",
        "2",
    ]
    # Debian's redis is linked with jemalloc; the C library in front of it makes the recorder see its calls.
    with subprocess.Popen(server, cwd=folder, stdout=subprocess.DEVNULL) as process:
        while subprocess.run(["redis-cli", "-p", port, "ping"], capture_output=True).stdout != b"PONG\n":
            time.sleep(0.1)
        load = ["redis-benchmark", "-p", port, "-q", "-n", "4000", "-r", "1000", "-c", "16", "-d", "120"]
        subprocess.run([*load, "-t", "set,get,lpush,lpop,sadd,hset,zadd,mset"], stdout=subprocess.DEVNULL, check=True)
        subprocess.run(["redis-cli", "-p", port, "shutdown", "nosave"], check=True)
        process.wait()


def keep(alloclab: Path, recorded: Path, name: str) -> None:
    """Cuts what is too long and moves it into place."""
    events = json.loads(subprocess.run([alloclab, "info", "--json", recorded], capture_output=True, check=True).stdout)[
        "events"
    ]
    target = HERE / f"{name}.parquet"
    if events > MOST_EVENTS:
        subprocess.run([alloclab, "cut", recorded, "--first", str(MOST_EVENTS), "-o", target], check=True)
    else:
        shutil.copyfile(recorded, target)
    print(f"{name}: {events} events, {target.stat().st_size / 1024:.0f} KiB kept")


def main() -> None:
    wanted = sys.argv[1:] or [r.name for r in RECORDINGS] + ["redis"]
    with tempfile.TemporaryDirectory() as temporary:
        alloclab = install(Path(temporary) / "environment")
        for name in wanted:
            folder = Path(temporary) / name
            folder.mkdir()
            recorded = folder / "recorded.parquet"
            if name == "redis":
                record_redis(alloclab, recorded, folder)
            else:
                recording = next(r for r in RECORDINGS if r.name == name)
                missing = [program for program in recording.needs if not shutil.which(program)]
                if missing:
                    print(f"{name}: left out, not installed: {', '.join(missing)}")
                    continue
                record(alloclab, recording, recorded, folder)
            keep(alloclab, recorded, name)


if __name__ == "__main__":
    main()
