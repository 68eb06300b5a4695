"""Resident bytes and page faults of traces whose pages can be counted by hand; the touch policy."""

from __future__ import annotations

from pathlib import Path

import pytest
from replays import PAGE, compiled
from rows import Row

from alloclab.allocators import resolve
from alloclab.replay import Settings, examine
from alloclab.trace.model import Op

PAGES_OF_BLOCK = 16
BLOCKS = 100
SLACK = 12 * PAGE
"""The allocator's own first pages, and a stack that grows."""


def blocks() -> list[Row]:
    return [Row(Op.MALLOC, i, PAGES_OF_BLOCK * PAGE) for i in range(BLOCKS)]


@pytest.mark.parametrize("spec", ["system", "bump", "fit"])
def test_touched_pages_are_resident_and_no_others(spec: str, tmp_path: Path) -> None:
    run = examine(compiled(tmp_path, blocks()), resolve(spec))
    touched = BLOCKS * PAGES_OF_BLOCK * PAGE
    assert touched <= run.figure("peak_resident") <= touched + SLACK
    assert touched <= run.figure("at_end_resident") <= touched + SLACK
    assert touched // PAGE <= run.figure("minor_faults") <= (touched + SLACK) // PAGE


@pytest.mark.parametrize("spec", ["system", "bump", "fit"])
def test_untouched_pages_are_not_resident(spec: str, tmp_path: Path) -> None:
    """Only headers are written: one page for each block at most."""
    run = examine(compiled(tmp_path, blocks()), resolve(spec), Settings(touch="none"))
    assert run.figure("peak_resident") <= BLOCKS * PAGE + SLACK
    assert run.figure("peak_mapped") >= BLOCKS * PAGES_OF_BLOCK * PAGE


def test_what_is_freed_is_no_longer_resident(tmp_path: Path) -> None:
    """Large blocks have mappings of their own, which go back at once."""
    size = 64 << 20
    run = examine(compiled(tmp_path, [Row(Op.MALLOC, 0, size), Row(Op.FREE, 0)]), resolve("system"))
    assert size <= run.figure("peak_resident") <= size + SLACK
    assert run.figure("at_end_resident") <= SLACK
    assert run.figure("drained_resident") <= SLACK


@pytest.mark.parametrize("spec", ["system", "fit"])
def test_without_huge_pages_the_same_pages_are_resident(spec: str, tmp_path: Path) -> None:
    run = examine(compiled(tmp_path, blocks()), resolve(spec), Settings(thp=False))
    touched = BLOCKS * PAGES_OF_BLOCK * PAGE
    assert touched <= run.figure("peak_resident") <= touched + SLACK
    assert not run.thp
