"""Builds and installs a copy of the repository, away from the editable install that the tests run in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from support import ROOT


def copy_of_the_repository(folder: Path, *, without: tuple[str, ...] = ()) -> Path:
    """What git tracks, or would, in a folder of its own; ``without`` names beginnings of paths."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if not name.startswith(without) and (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def build(*command: str | Path, cwd: Path) -> None:
    """``python -m COMMAND``, with the meson and ninja of this environment, and without a network."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def environment(folder: Path) -> Path:
    """The Python of a fresh environment that borrows this one's libraries, but not its editable install."""
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    (site_of(python) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def site_of(python: Path) -> Path:
    return next((python.parent.parent / "lib").glob("python*/site-packages"))
