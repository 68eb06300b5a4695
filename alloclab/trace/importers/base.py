"""What every importer is, and what an import reports.

An importer is one module of this folder with one class under :func:`register`. It says by a file's first bytes whether
the file is its own, and turns the file into blocks of :class:`~alloclab.trace.model.Events`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np

from alloclab.errors import TraceError
from alloclab.trace.model import OP_LABELS, Events, Metadata

HEAD_BYTES = 1 << 16
"""How much of a file (of a member, where it is compressed) an importer may look at to say whether it is its own."""

Progress = Callable[[int, int, str], None]
"""Called on the way with what is done, of how much, and what it is: here bytes of a file."""


@dataclass
class ImportReport:
    """What an import read. ``events`` by kind are what was written; ``dropped``: what was not, by reason.

    ``births_by_realloc``: realloc(NULL, n) in the file, malloc in the trace. ``live_blocks``, ``live_bytes`` (at the
    end) and ``peak_live_bytes`` are of requested bytes; None where the importer does not count them.
    """

    format: str
    events: int = 0
    by_kind: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OP_LABELS, 0))
    births_by_realloc: int = 0
    threads: int | None = None
    live_blocks: int | None = None
    live_bytes: int | None = None
    peak_live_bytes: int | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    metadata: Metadata = field(default_factory=Metadata)
    progress: Progress | None = field(default=None, repr=False, compare=False)

    def drop(self, reason: str, count: int) -> None:
        """Count something that is left out of the trace."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def count(self, events: Events) -> None:
        """Count events that go into the trace."""
        self.events += len(events)
        for label, n in zip(OP_LABELS, np.bincount(events.op, minlength=len(OP_LABELS)), strict=True):
            self.by_kind[label] += int(n)

    def final_metadata(self) -> Metadata:
        """The trace's metadata, with what was dropped."""
        dropped = {**self.metadata.dropped, **self.dropped}
        return replace(self.metadata, source=self.metadata.source or self.format, dropped=dropped)


@dataclass(frozen=True)
class Session:
    """One import on its way: whose problems they are, and whether they are fatal."""

    path: Path
    lenient: bool
    report: ImportReport

    def refuse(self, where: str, found: str, expected: str) -> NoReturn:
        """The file is malformed there, and nothing can be made of it."""
        raise TraceError.at(self.path, where, found, expected)

    def leave_out(self, reason: str, count: int, where: str, found: str, expected: str) -> None:
        """Something cannot be replayed: refuse the file, or with ``lenient`` count what is left out."""
        if not self.lenient:
            self.refuse(where, found, f"{expected} (--lenient drops such events and counts them)")
        self.report.drop(reason, count)


class Importer(ABC):
    """A foreign format. ``name`` is for ``--format``, ``title`` for people, ``extensions`` what its files end in."""

    name: str
    title: str
    extensions: tuple[str, ...]

    @abstractmethod
    def sniff(self, head: bytes) -> bool:
        """Whether a file is of this format by its first bytes: all of a short file, else HEAD_BYTES of it.

        Compressed files are shown decompressed. Malformed files count as the format they seem to be.
        """

    @abstractmethod
    def read(self, path: Path, lenient: bool, report: ImportReport) -> Iterator[Events]:
        """The events of a file in order, in blocks. Raises TraceError naming file, place, found and expected."""


REGISTRY: dict[str, Importer] = {}

_ImporterType = TypeVar("_ImporterType", bound=type[Importer])


def register(importer: _ImporterType) -> _ImporterType:
    """Class decorator: the format becomes known by its name."""
    assert importer.name not in REGISTRY, importer.name
    REGISTRY[importer.name] = importer()
    return importer
