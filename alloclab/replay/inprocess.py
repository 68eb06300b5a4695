"""Passes in this process, on a laboratory's allocator in a window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alloclab.errors import ReplayError
from alloclab.native import ffi, lib
from alloclab.replay.run import Lines, Pass, Settings
from alloclab.trace.compile import CompiledTrace

if TYPE_CHECKING:
    from alloclab.allocators import Allocator
    from alloclab.trace.strands import Replayable


def run_pass(name: Pass, compiled: Replayable, allocator: Allocator, settings: Settings) -> Lines:
    """One pass on a new heap. memory yields what the calls pass out of process does, too. Raises ReplayError."""
    assert isinstance(compiled, CompiledTrace), "threads run side by side in processes of their own"
    head = ffi.from_buffer("char[]", compiled.head())
    entries = ffi.from_buffer("char[]", compiled.entries)
    job = ffi.new("al_job *")
    job.head = ffi.cast("struct al_ops_head *", head)
    job.entries = ffi.cast("struct al_op *", entries)
    job.entry_room = len(compiled.entries)
    setattr(job, "pass", getattr(lib, f"AL_PASS_{name.upper()}"))
    job.touch = settings.touch == "page"
    job.samples = settings.samples
    job.warm_passes = settings.warm
    text = ffi.new("char[]", lib.al_job_text_bytes(job))
    written = lib.al_replay_in_process(job, allocator.name.encode(), allocator.options.encode(), text)
    lines = Lines.parse(bytes(ffi.buffer(text, written)).decode())
    if "trouble" in lines.words:
        raise ReplayError(f"{allocator.spec}: cannot be replayed on: {lines.words['trouble']}")
    return lines
