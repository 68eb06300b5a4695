"""Builds small C programs, and runs or records them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alloclab.record import Capture, record
from alloclab.trace.importers.capture import CaptureReader, Counts
from alloclab.trace.model import Events, Op

ALLOCLAB = [sys.executable, "-c", "from alloclab.cli import main; main()"]

BEGIN, END = 77777, 77778
"""Sizes that a test program asks for around what it tests: malloc(BEGIN), ..., malloc(END)."""


INTERRUPTIBLE = """
#include <stdatomic.h>
#include <string.h>
static char memory[1u << 30] __attribute__((aligned(16)));
static atomic_size_t used;
static void *take(size_t n) { return memory + atomic_fetch_add(&used, (n + 31) / 16 * 16) + 16; }
void *malloc(size_t n) { return take(n); }
void *calloc(size_t n, size_t m) { return take(n * m); }
void free(void *p) {}
void *realloc(void *p, size_t n) { void *q = take(n); if (p) memcpy(q, p, 16); return q; }
"""
"""A malloc that signals may interrupt, and their handlers then use."""


@dataclass(frozen=True)
class Image:
    """One process image as recorded, all rows in memory."""

    capture: Capture
    counts: Counts
    rows: Events

    @property
    def whole(self) -> bool:
        """Every birth before its death, no address given out twice, no event missing."""
        c = self.counts
        return (c.frees_unknown, c.reallocs_unknown, c.frees_lost, c.calls_lost, self.capture.lost) == (0, 0, 0, 0, 0)

    def count(self, op: Op, size: int | None = None) -> int:
        found = self.rows.op == op
        return int(np.sum(found if size is None else found & (self.rows.size == size)))

    def between_marks(self) -> list[tuple[str, int, int, int, int, bool]]:
        """(op, object, size, count, align, failed) between malloc(BEGIN) and malloc(END); objects from 0."""
        rows = self.rows
        begin = int(np.flatnonzero(rows.size == BEGIN)[0])
        end = int(np.flatnonzero(rows.size == END)[0])
        first = int(rows.object[begin]) + 1
        return [
            (
                Op(rows.op[i]).label,
                int(rows.object[i]) - first if rows.object[i] >= 0 else -1,
                int(rows.size[i]),
                int(rows.count[i]),
                int(rows.align[i]),
                bool(rows.failed[i]),
            )
            for i in range(begin + 1, end)
        ]


def alloclab(folder: Path, *words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ALLOCLAB, *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=300, **options
    )  # type: ignore[call-overload]


def build(folder: Path, source: str, *flags: str, compiler: str = "gcc", name: str = "target") -> Path:
    """Compile without letting the compiler reason about malloc."""
    suffix = ".cc" if compiler == "g++" else ".c"
    (folder / f"{name}{suffix}").write_text(source)
    plain = [] if compiler == "g++" else ["-std=gnu17"]
    subprocess.run(
        [
            compiler,
            *plain,
            "-O1",
            "-w",
            "-fno-builtin",
            "-D_GNU_SOURCE",
            f"{name}{suffix}",
            "-o",
            name,
            "-pthread",
            *flags,
        ],
        cwd=folder,
        check=True,
    )
    return folder / name


def run(folder: Path, command: Sequence[str | Path], **options: object) -> tuple[int, list[Image]]:
    """Record a command: its status, and its images by pid and number."""
    captures = folder / "captures"
    captures.mkdir(exist_ok=True)
    recording = record([str(word) for word in command], captures, **options)  # type: ignore[arg-type]
    return recording.status, [read(capture) for capture in recording.captures]


def read(capture: Capture) -> Image:
    with CaptureReader(capture.path) as reader:
        blocks = list(reader)
        counts = reader.counts()
    names = [field.name for field in dataclasses.fields(Events) if field.name != "stack"]
    rows = Events(**{name: np.concatenate([getattr(block, name) for block in blocks]) for name in names})
    return Image(capture, counts, rows)
