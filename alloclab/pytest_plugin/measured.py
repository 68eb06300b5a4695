"""What a test asked of malloc: its rows of the recording, replayed, and what was live at its peak."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from alloclab.allocators import Allocator
from alloclab.errors import RecordError, ReplayError
from alloclab.measure import METRICS
from alloclab.measure.calls import KINDS
from alloclab.pytest_plugin.bounds import Limit
from alloclab.pytest_plugin.files import file_name, files_folder
from alloclab.pytest_plugin.own_rows import OwnRows
from alloclab.record import Recording
from alloclab.replay import RawRun, Settings, examine, prepare
from alloclab.report.columns import say_bytes
from alloclab.trace.cut import cut
from alloclab.trace.importers.capture import CaptureReader
from alloclab.trace.model import Metadata
from alloclab.trace.parquet import Trace, TraceWriter
from alloclab.trace.stats import Class, summarize

SHOWN, LEAST = 5, 100
"""So many classes of sizes, each with one in so many bytes at least."""


@dataclass(frozen=True)
class Measured:
    """``over``: which limits are broken and by what, "" where all hold. ``said``: of each limit the figure."""

    over: str
    said: tuple[tuple[Limit, str], ...]


def measure(
    item: pytest.Item, limits: Sequence[Limit], kernel: dict[str, Any], recording: Recording, folder: Path
) -> Measured:
    """Hold the limits against what was recorded of the test. AlloclabError where that cannot be measured."""
    if not recording.captures:
        raise RecordError("the recorder could not be loaded, or not write its files")
    capture = recording.captures[0]
    if capture.stopped or capture.lost:
        raise RecordError(f"recording is not complete: {capture.stopped or f'{capture.lost} events are lost'}")
    trace = _write_trace(capture.path, folder / f"{file_name(item.nodeid)}.parquet", item.nodeid)
    runs: dict[str, RawRun] = {}
    broken, said = [], []
    for limit in limits:
        if limit.what == "rss":
            if kernel["refused"]:
                raise RecordError(kernel["refused"])
            figure, how = float(kernel["rss"]), "more is resident at the peak than before the test"
        else:
            assert limit.allocator is not None
            spec = limit.allocator.spec
            if spec not in runs:
                runs[spec] = _replay(trace, limit.allocator)
            figure, how = _replayed(limit, runs[spec])
        said.append((limit, f"{limit.say(figure)} of {limit.say(limit.most)}{_of(limit)}"))
        if figure > limit.most:
            broken.append(f"{limit.marker}: {limit.say(figure)} {how}, the limit is {limit.say(limit.most)}")
    return Measured("\n".join([*broken, *_where(trace, item.config)]) if broken else "", tuple(said))


def _of(limit: Limit) -> str:
    return f" {limit.what}" if limit.what in KINDS else ""


# --- replayed ---


def _write_trace(capture: Path, out: Path, nodeid: str) -> Trace:
    own = OwnRows()
    metadata = Metadata(program=nodeid, source="alloclab limits", clock="CLOCK_MONOTONIC")
    with CaptureReader(capture) as reader, TraceWriter(out, metadata) as writer:
        for events in reader:
            writer.write(own.of(events))
    return Trace.open(out)


def _replay(trace: Trace, allocator: Allocator) -> RawRun:
    settings = Settings(in_process=allocator.kind == "lab")
    run = examine(prepare(trace, settings), allocator, settings)
    if run.failure is not None:
        raise ReplayError(f"{allocator.spec} fails on the calls of the test: {run.failure}")
    return run


def _replayed(limit: Limit, run: RawRun) -> tuple[float, str]:
    """The figure, and what it is of."""
    on = f"in a replay of its {run.ops:,} heap calls on {run.allocator}"
    if limit.what == "fragmentation":
        ratio = METRICS["fragmentation_4"].compute(run).value or 1.0
        if not run.ops:
            return 1.0, on
        peaks = say_bytes(run.figure("peak_mapped")), say_bytes(run.figure("at_peak_live"))
        return ratio, f"times as much is mapped at most ({peaks[0]}) as is live at most ({peaks[1]}), {on}"
    made = {kind: int(METRICS[f"calls_{kind}"].compute(run).value or 0) for kind in KINDS}
    if limit.what in made:
        return made[limit.what], f"{limit.what} calls for memory {on}"
    listed = ", ".join(f"{kind} {count:,}" for kind, count in made.items() if count)
    return sum(made.values()), f"system calls for memory ({listed}) {on}"


# --- where from ---


def _where(trace: Trace, config: pytest.Config) -> Iterator[str]:
    """What was live at the peak of live bytes, and where the trace is kept."""
    peak = summarize(trace).peak
    if peak.bytes:
        yield f"most that was live at once: {say_bytes(peak.bytes)} in {peak.blocks:,} blocks, of these"
        with tempfile.TemporaryDirectory(prefix="alloclab-") as folder:
            head = Path(folder) / "head.parquet"
            cut(trace, head, 0, peak.row + 1)
            classes = sorted(summarize(Trace.open(head)).survivors_by_size, key=lambda c: -(c.bytes or 0))
        yield from (_class(one) for one in classes[:SHOWN] if (one.bytes or 0) * LEAST >= peak.bytes)
    kept = files_folder(config) / trace.path.name
    shutil.copyfile(trace.path, kept)
    yield f"its trace, for alloclab info and compare: {kept}"


def _class(one: Class) -> str:
    blocks = f"{one.blocks:,} block{'s' * (one.blocks != 1)}"
    return f"  {say_bytes(one.bytes or 0):>9} in {blocks} of {one.low:,} to {one.high:,} bytes"
