"""Files as streams of bytes, whether plain, in gzip or in a zip archive, and what is wrong with them as one error."""

from __future__ import annotations

import contextlib
import gzip
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from alloclab.errors import TraceError
from alloclab.trace.importers.base import HEAD_BYTES, Progress

GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (zlib.error, EOFError, gzip.BadGzipFile, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise TraceError(f"{path}: damaged or unreadable compressed file: {error}") from error


class Stream:
    """Reads a file's bytes, decompressed. Raises TraceError where the compressed data is damaged."""

    def __init__(self, path: Path, file: BinaryIO, raw: BinaryIO, progress: Progress | None) -> None:
        """``raw`` is the file on disk below ``file``, of which ``progress`` hears."""
        self.path = path
        self._file = file
        self._raw = raw
        self._progress = progress
        self._size = path.stat().st_size

    def read(self, size: int) -> bytes:
        """``size`` bytes, fewer only at the end."""
        with _damage(self.path):
            parts = []
            while size > 0 and (part := self._file.read(size)):
                parts.append(part)
                size -= len(part)
        if self._progress:
            self._progress(self._raw.tell(), self._size, self.path.name)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def magic_of(path: Path) -> bytes:
    """A file's first four bytes. Raises TraceError where there are none to read."""
    if not path.exists():
        raise TraceError(f"{path}: no such file")
    if not path.is_file():
        raise TraceError(f"{path}: not a regular file, expected a trace")
    with path.open("rb") as file:
        magic = file.read(4)
    if not magic:
        raise TraceError(f"{path}: empty file, expected a trace")
    return magic


def _members(archive: zipfile.ZipFile) -> list[str]:
    return [info.filename for info in archive.infolist() if not info.is_dir()]


def member_heads(path: Path) -> dict[str, bytes]:
    """The first bytes of the file, or of each member of an archive by its name."""
    magic = magic_of(path)
    if magic != ZIP_MAGIC:
        with open_stream(path) as stream:
            return {path.name: stream.read(HEAD_BYTES)}
    with _damage(path), zipfile.ZipFile(path) as archive:
        heads = {}
        for name in _members(archive):
            with archive.open(name) as member:
                heads[name] = member.read(HEAD_BYTES)
        return heads


@contextlib.contextmanager
def open_stream(
    path: Path, sniff: Callable[[bytes], bool] | None = None, progress: Progress | None = None
) -> Iterator[Stream]:
    """The file's bytes. Of an archive: its only member, else the only one that ``sniff`` takes by its first bytes."""
    magic = magic_of(path)
    with contextlib.ExitStack() as stack:
        raw = cast(BinaryIO, stack.enter_context(path.open("rb", buffering=0)))
        file = raw
        if magic.startswith(GZIP_MAGIC):
            file = cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=raw)))
        elif magic == ZIP_MAGIC:
            heads = member_heads(path)
            names = list(heads) if len(heads) == 1 else [name for name in heads if sniff and sniff(heads[name])]
            if len(names) != 1:
                raise TraceError(f"{path}: found {', '.join(heads) or 'nothing'} in it, expected one trace")
            with _damage(path):
                archive = stack.enter_context(zipfile.ZipFile(raw))
                file = cast(BinaryIO, stack.enter_context(archive.open(names[0])))
        yield Stream(path, file, raw, progress)
