"""Makes the recordings of this folder again: ``python3 traces/make.py [NAME ...]`` from the repository.

The recorder is installed as a wheel into an environment of its own (an editable install adds thousands of calls to
every Python process), and each program runs under it in a temporary folder that holds copies of ``programs/`` and of
the C sources, so that no path of this machine gets into a trace. Programs that are not installed are named and left
out. A recording of more than ``MOST_EVENTS`` becomes a prefix: what is live at the cut stays live.
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
MOST_EVENTS = 1_000_000
PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class Recording:
    """A command to record; ``prepare`` runs before it, unrecorded."""

    name: str
    command: str
    needs: tuple[str, ...]
    prepare: str = ""
    environment: dict[str, str] = field(default_factory=dict)


RECORDINGS = [
    Recording("python", f"{PYTHON} documents.py", (PYTHON,), environment={"PYTHONMALLOC": "malloc"}),
    Recording("python-pymalloc", f"{PYTHON} documents.py", (PYTHON,)),
    Recording("perl", "perl words.pl", ("perl",)),
    Recording("cc1", "gcc -O2 -c -Icsrc csrc/region/region.c -o region.o", ("gcc",)),
    Recording("git", "git -C copy log --stat -p", ("git",), prepare="git clone --quiet {source} copy"),
    Recording("sqlite", "sqlite3 :memory: '.read orders.sql'", ("sqlite3",)),
    Recording("containers", "./containers", ("g++",), prepare="g++ -O2 -pthread containers.cpp -o containers"),
    Recording("node", "node server.js", ("node",)),
    Recording("bash", "bash log.sh", ("bash",)),
    Recording("sed", "sed -E -f reword.sed LICENSE", ("sed",), prepare="cat {source}/LICENSE csrc/*/*.h >LICENSE"),
    Recording(
        "objdump",
        "objdump -dlS containers",
        ("objdump", "g++"),
        prepare="g++ -g -O2 -pthread containers.cpp -o containers",
    ),
]


def install(folder: Path) -> Path:
    """A wheel of this checkout in an environment of its own; returns its ``alloclab``."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/pip", "install", "--quiet", HERE.parent], check=True)
    return folder / "bin/alloclab"


def record(alloclab: Path, recording: Recording, out: Path, folder: Path) -> None:
    if recording.prepare:
        subprocess.run(recording.prepare.format(source=HERE.parent), shell=True, cwd=folder, check=True)
    command = f"exec {alloclab} record -o {out} -- {recording.command}"
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
        load = ["redis-benchmark", "-p", port, "-q", "-n", "2500", "-r", "1000", "-c", "16", "-d", "120"]
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
            shutil.copytree(HERE / "programs", folder)
            shutil.copytree(HERE.parent / "csrc", folder / "csrc")
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
