"""Every notebook runs from its first cell to its last, and shows what it promises to show."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from support import ROOT
from traitlets.config import Config


def but_for_a_page(text: str) -> str:
    """tcmalloc's heap begins at a whole page of its own, two of the system's, and so a page after where the program's
    data happen to end, or not."""

    def whole(line: re.Match[str]) -> str:
        return re.sub(r"[\d,]{6,}", lambda n: f"{int(n[0].replace(',', '')) // 8192 * 8192:,}", line[0])

    return re.sub(r"^(peak )?mapped bytes.*", whole, text, flags=re.M)


def shown(notebook: nbformat.NotebookNode) -> list[tuple[str, int]]:
    """Of each cell what it prints, and how many pictures it draws."""
    cells = [cell.get("outputs", []) for cell in notebook.cells]
    return [
        (
            but_for_a_page("".join(o.text for o in outputs if o.get("name") == "stdout")),
            sum("image/png" in o.get("data", {}) for o in outputs),
        )
        for outputs in cells
    ]


NEEDS = {"inside_jemalloc": "libjemalloc", "inside_tcmalloc": "libtcmalloc_minimal"}


@pytest.mark.slow
@pytest.mark.needs("glibc 2.36")
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.needs(NEEDS[path.stem])] if path.stem in NEEDS else [], id=path.stem)
        for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
    ],
)
def test_notebook_runs(path: Path) -> None:
    """Over sockets of its own, for a port that was free may be another's once the kernel takes it; and what a cell
    prints is waited for, not given up after some seconds."""
    notebook = nbformat.read(path, as_version=4)
    promised = shown(notebook)
    assert any(pictures for _, pictures in promised), "saved without its outputs"
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # the name of a socket is short
        own = {"transport": "ipc", "connection_file": f"{folder}/kernel.json"}
        client = NotebookClient(
            notebook,
            config=Config(KernelManager=own),
            resources={"metadata": {"path": path.parent}},
            **dict.fromkeys(("timeout", "startup_timeout", "iopub_timeout"), 300),
        )
        client.execute()
    assert shown(notebook) == promised
