"""Importers of foreign trace formats: one module each, found and registered here, chosen by a file's content."""

from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path

from alloclab.errors import TraceError, UsageError
from alloclab.trace.importers.base import HEAD_BYTES, REGISTRY, Importer, ImportReport, Progress
from alloclab.trace.importers.stream import magic_of, member_heads
from alloclab.trace.model import Metadata
from alloclab.trace.parquet import MAGIC as PARQUET_MAGIC
from alloclab.trace.parquet import TraceWriter

__all__ = ["HEAD_BYTES", "ImportReport", "Importer", "find", "import_file", "importers", "sniff"]


def importers() -> dict[str, Importer]:
    """Every importer by name, in alphabetical order."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(REGISTRY.items()))


def find(name: str) -> Importer:
    """The importer of that name. Raises UsageError that lists what exists."""
    known = importers()
    if name not in known:
        raise UsageError(f"unknown trace format {name!r}; known: {', '.join(known)}")
    return known[name]


def sniff(path: str | os.PathLike[str]) -> Importer | None:
    """The importer that knows the file by its content, or None.

    Raises TraceError where the file cannot be read, is empty, or is an archive of several traces.
    """
    path = Path(path)
    heads = member_heads(path)
    known = importers().values()
    found = [(member, importer) for member, head in heads.items() for importer in known if importer.sniff(head)]
    if len({member for member, _ in found}) > 1:
        members = ", ".join(sorted({member for member, _ in found}))
        raise TraceError(f"{path}: holds several traces ({members}), expected one: unpack it and import each")
    return found[0][1] if found else None


def import_file(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    lenient: bool = False,
    format: str | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Turn a foreign trace into Parquet at ``out``, in bounded memory. ``format`` overrides what the content says.

    Raises TraceError for a malformed file (naming the file, the line or byte offset, what was found and expected) and
    UsageError for an unknown format; ``out`` is then as it was. ``lenient`` drops what cannot be replayed, and counts.
    """
    path, out = Path(path), Path(out)
    if magic_of(path) == PARQUET_MAGIC:
        raise TraceError(f"{path}: is a Parquet file, which needs no import: use it as it is")
    importer = find(format) if format else sniff(path)
    if importer is None:
        titles = ", ".join(importer.title for importer in importers().values())
        raise TraceError(
            f"{path}: not a trace in any format known here: {titles}; "
            "if you know better, `alloclab import --format NAME`"
        )
    if out.exists() and out.samefile(path):
        raise UsageError(f"{out}: is the file to import; name another output")
    report = ImportReport(importer.name, progress=progress)
    blocks = importer.read(path, lenient, report)
    first = next(blocks, None)
    if first is None:
        raise TraceError(f"{path}: found no events, expected a trace of {importer.title}")
    with TraceWriter(out, Metadata(), address=first.address is not None, stack=first.stack is not None) as writer:
        report.count(first)
        writer.write(first)
        for events in blocks:
            report.count(events)
            writer.write(events)
        writer.metadata = report.final_metadata()
    return report
