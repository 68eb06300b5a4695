"""Output files that are whole or not there: written beside, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
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


def output_folder(path: str) -> Path:
    """The folder, made if there is none. UsageError, before any long work, where it could not be written in."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UsageError(f"{path}: is a file, expected a folder") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{path}: no permission to write there")
    return folder


def beside(path: Path) -> Path:
    """The name under which a file is written before it takes its own.

    Raises UsageError where ``path`` is a folder or a device, which a rename would replace or fail on.
    """
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: is a {'folder' if path.is_dir() else 'device'}, expected the name of a file")
    return path.with_name(f".{path.name}.{os.getpid()}")


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A name beside ``path`` to write to. Its file takes the place of ``path`` when all went well, else it goes.

    Any OSError of the block is taken for one of writing, and raised as one that names ``path``.
    """
    file = Path(path)
    unfinished = beside(file)
    try:
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(unfinished.unlink, missing_ok=True)
            yield unfinished
            unfinished.replace(file)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(file)) from error


def write_whole(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``, or leave what was there. Raises OSError that names the file."""
    with whole_file(path) as unfinished:
        unfinished.write_bytes(data)
