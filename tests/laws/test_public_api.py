"""The public names: what may be relied upon. A change here is a change for users, and goes into CHANGELOG.md."""

from __future__ import annotations

import subprocess
import sys

import alloclab

PUBLIC = {
    "Allocator",
    "AlloclabError",
    "Bin",
    "Chunk",
    "Comparison",
    "Explanation",
    "Fidelity",
    "Heap",
    "METRICS",
    "Regions",
    "Result",
    "Settings",
    "Trace",
    "Value",
    "compare",
    "draw",
    "fidelity",
    "lab_allocators",
    "load",
    "resolve",
    "summarize",
}


def test_the_public_names_are_these() -> None:
    assert set(alloclab.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(alloclab, name) is not None
    assert set(dir(alloclab)) >= PUBLIC


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = (
        "import alloclab, sys; print(*sorted({'numpy', 'pyarrow', 'matplotlib', 'rich', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
