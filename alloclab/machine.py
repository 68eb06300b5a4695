"""The machine that a figure was measured on, as JSON-able facts and as one line."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

_THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_DIGEST_CHARACTERS = 16


def _first_match(path: str, pattern: str) -> str:
    try:
        text = Path(path).read_text(errors="replace")
    except OSError:
        return ""
    match = re.search(pattern, text, re.MULTILINE)
    return match.group(1).strip() if match else ""


def _thp() -> str:
    try:
        chosen = re.search(r"\[(\w+)\]", _THP.read_text())
    except OSError:
        return "unavailable"
    return chosen.group(1) if chosen else "unavailable"


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "unknown"
    except (ValueError, OSError):
        return "unknown"


def libc_file() -> Path | None:
    """Of the libc that this process runs on; None where it cannot be told."""
    found = _first_match("/proc/self/maps", r"(/\S*/libc\.so\.6)$")
    return Path(found) if found else None


def _kernel_version() -> str:
    """The numbers of the release; what a distributor or provider adds says more of the owner than of the kernel."""
    release = platform.release()
    numbers = re.match(r"\d+(\.\d+)*", release)
    return numbers[0] if numbers else release


def describe_library(path: Path) -> dict[str, str]:
    """File name, version (where the file name has one) and the first 16 hex digits of the file's SHA-256.

    The folder is left out: it says more of the user than of the library.
    """
    real = path.resolve()
    version = re.search(r"\.so\.([\w.]+)$", real.name)
    digest = hashlib.sha256(real.read_bytes()).hexdigest()[:_DIGEST_CHARACTERS]
    facts = {"file": path.name, "sha256": digest}
    return facts | {"version": version.group(1)} if version else facts


def describe(libraries: Mapping[str, Path | None] | None = None) -> dict[str, Any]:
    """Facts of this machine now. ``libraries``: allocator spec -> its file, None for the C library's own malloc."""
    digests = {}
    for spec, path in (libraries or {}).items():
        file = path or libc_file()
        if file is not None:
            digests[spec] = describe_library(file)
    return {
        "alloclab": metadata.version("alloclab"),
        "cpu": _first_match("/proc/cpuinfo", r"^model name\s*:\s*(.+)$") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": f"{platform.system()} {_kernel_version()}",
        "libc": _libc(),
        "page_bytes": os.sysconf("SC_PAGE_SIZE"),
        "transparent_huge_pages": _thp(),
        "load_average": round(os.getloadavg()[0], 2),
        "libraries": digests,
    }


def one_line(machine: Mapping[str, Any]) -> str:
    """For under a table: ``AMD EPYC 7B13, 2 cores, 7.8 GiB, Linux 6.1.0, glibc 2.36, THP madvise, load 0.31``."""
    return ", ".join(
        [
            str(machine.get("cpu", "unknown CPU")),
            f"{machine.get('cores', '?')} cores",
            f"{machine.get('memory_bytes', 0) / 2**30:.1f} GiB",
            str(machine.get("kernel", "unknown kernel")),
            str(machine.get("libc", "unknown libc")),
            f"THP {machine.get('transparent_huge_pages', '?')}",
            f"load {machine.get('load_average', '?')}",
        ]
    )
