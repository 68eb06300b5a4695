"""What the allocator asked of the kernel while the trace ran."""

from __future__ import annotations

from alloclab.measure import metric, register
from alloclab.replay import RawRun

KINDS = ("brk", "mmap", "munmap", "mremap", "madvise", "mprotect")

_ASKED = {
    "brk": "bytes by which they moved the break, up or down",
    "mmap": "bytes mapped",
    "munmap": "bytes unmapped",
    "madvise": "bytes advised upon",
}


def _register_count(call: str) -> None:
    name = f"calls_{call}"
    register(
        name, "calls", f"System calls {call} made between the first operation and the last.", lambda r: r.figure(name)
    )


def _register_bytes(call: str, what: str) -> None:
    name = f"bytes_{call}"
    register(name, "bytes", f"What the successful {call} calls add up to: {what}.", lambda r: r.figure(name))


for _call in KINDS:
    _register_count(_call)


@metric("faults")
def minor_faults(run: RawRun) -> float:
    """Page faults served without reading a file, in the memory pass."""
    return run.figure("minor_faults")


for _call, _what in _ASKED.items():
    _register_bytes(_call, _what)


@metric("mappings")
def peak_vmas(run: RawRun) -> float:
    """Most ranges of address space, each of one kind, that the allocator held at once."""
    return run.figure("peak_vmas")
