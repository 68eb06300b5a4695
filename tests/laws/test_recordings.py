"""The recordings in traces/: whole, free of contradictions, spread over kinds, and small enough to be cloned."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import ROOT

from alloclab.trace import load
from alloclab.trace.stats import summarize
from alloclab.trace.validate import validate

RECORDINGS = sorted((ROOT / "traces").glob("*.parquet"))


def test_at_least_ten_recordings_in_ten_mebibytes() -> None:
    assert len(RECORDINGS) >= 10
    assert sum(path.stat().st_size for path in RECORDINGS) <= 10 << 20


def test_the_readme_lists_them_all_with_their_figures() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| ([\d,]+) \| [\d.]+ [KM]iB \| (\d+) \|$", readme(), flags=re.M)
    listed = {name: (int(events.replace(",", "")), int(threads)) for name, events, threads in rows}
    found = {path.stem: (len(load(path)), len(summarize(load(path)).threads)) for path in RECORDINGS}
    assert listed == found


def readme() -> str:
    return (ROOT / "traces/README.md").read_text()


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda p: p.stem)
def test_a_recording_contradicts_itself_nowhere_and_names_no_private_path(path: Path) -> None:
    trace = load(path)
    assert validate(trace).total == 0
    assert trace.metadata.dropped == {}
    assert not any(word.startswith(("/home", "/root", str(ROOT))) for word in trace.metadata.command)
