"""Output files that are whole or not there: written beside, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from alloclab.errors import UsageError

STDOUT = "-"


def check_output(path: str, endings: Iterable[str]) -> None:
    """Refuse, before any long work, an output that could not be written at its end.

    The ending must be one of ``endings``, so that an input named by mistake is not overwritten. Raises UsageError.
    """
    if path == STDOUT:
        return
    file = Path(path)
    endings = tuple(endings)
    if file.suffix.lower() not in endings:
        raise UsageError(f"{path}: the name of this output must end in {' or '.join(endings)}")
    if file.is_dir():
        raise UsageError(f"{path}: is a folder, expected the name of a file")
    folder = file.parent
    if not folder.is_dir():
        raise UsageError(f"{path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{path}: no permission to write in {folder}")


def write_whole(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``, or leave what was there. Raises OSError that names the file."""
    file = Path(path)
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(beside.unlink, missing_ok=True)
            beside.write_bytes(data)
            beside.replace(file)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error
