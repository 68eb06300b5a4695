"""``alloclab worst`` from end to end."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from alloclab import cli
from alloclab.allocators import resolve
from alloclab.check.bounds import bounds
from alloclab.check.moves import SLACKS, Allocate, Keep, Plan, Wedge
from alloclab.check.program import Limits
from alloclab.check.worst import Budget, search
from alloclab.heap import Heap
from alloclab.trace import load
from alloclab.trace.model import Op
from alloclab.trace.stats import summarize
from alloclab.trace.validate import validate

FEW = ("--examples", "60")


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.chdir(tmp_path)

    def go(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(["worst", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


def replayed(spec: str, measure: str) -> float:
    """By `alloclab replay`, of the trace that is written by default."""
    assert cli.run(["replay", "worst.parquet", "-a", spec, "--no-time", "--json", "replay.json"]) == 0
    (result,) = [r for r in json.loads(Path("replay.json").read_text())["results"] if r["allocator"] == spec]
    assert result["verified"]
    return float(result["metrics"][measure]["value"])


def test_what_is_found_is_shown_saved_and_replayed(run) -> None:
    code, out, err = run("-a", "fit:policy=best", *FEW, "--json", "found.json")
    assert (code, err) == (0, "")
    found = json.loads(Path("found.json").read_text())
    assert "at least 2.88" in out and "Robson 1974" in out and "Trace: worst.parquet" in out
    assert f"fragmentation_4 is {found['value']:.2f} after {found['operations']} operations" in out
    assert found["value"] == found["replayed"] == replayed("fit:policy=best", "fragmentation_4") > found["plain"] > 1
    assert found["tried"] == 60 and [b["kind"] for b in found["bounds"]] == ["at least", "about"]
    trace = load("worst.parquet")
    assert not validate(trace) and trace.metadata.extra["story"] == found["story"]
    summary = summarize(trace)
    assert summary.operations == found["operations"] <= 200
    assert 508 << 10 < summary.peak.bytes <= 512 << 10


@pytest.mark.parametrize(
    ("spec", "measure", "name"),
    [
        ("ptmalloc", "calls", "calls"),
        pytest.param("jemalloc", "moves", "realloc_moves", marks=pytest.mark.slow),
        pytest.param("buddy", "utilization", "utilization", marks=pytest.mark.slow),
    ],
)
def test_other_measures(run, spec: str, measure: str, name: str) -> None:
    code, out, err = run("-a", spec, "--measure", measure, *FEW, "--operations", "80", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "") and found["measure"] == name and found["bounds"] == []
    worse = found["plain"] > found["value"] if measure == "utilization" else found["plain"] < found["value"]
    assert worse and found["value"] == found["replayed"]


@pytest.mark.parametrize("slack", SLACKS)
@pytest.mark.parametrize("spec", ["fit:policy=best", "jemalloc"])
def test_where_the_heap_lies_does_not_change_the_program(spec: str, slack: int) -> None:
    """Every process has its own random addresses; here heaps that are open side by side have different ones."""
    limits, power = Limits(operations=200, live=512 << 10, least=4096, most=120 << 10), 3
    plan = Plan(slack, (Allocate(200, 1), Keep(power, 5), Allocate(200, 8)))
    allocator = resolve(spec)
    programs, places = [], set()
    with contextlib.ExitStack() as side_by_side:
        for _ in range(4):
            heap = side_by_side.enter_context(Heap(allocator.name, **allocator.tunables()))
            program, _, _ = plan.play(heap, limits)
            events = program.events()
            programs.append((program.story, events.op.tolist(), events.object.tolist(), events.size.tolist()))
            places.add(heap.regions.base % ((limits.least + slack) << power))
    assert len(places) > 1 or slack == 0
    assert programs == programs[:1] * 4
    assert any("does not reach over" in line for line in programs[0][0])


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["fit:policy=best", "jemalloc"])
def test_the_same_seed_finds_the_same_trace(spec: str, tmp_path: Path) -> None:
    """In processes of their own: Hypothesis also draws from the constants of the modules that are loaded."""
    for name in ("one.parquet", "two.parquet"):
        command = [Path(sys.executable).with_name("alloclab"), "worst", "-a", spec, "--examples", "1000", "-o", name]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


@pytest.mark.slow
def test_limits_are_kept(run) -> None:
    limits = ("--operations", "60", "--live", "100KiB", "--sizes", "1000..20KiB", "--reallocs")
    assert run("-a", "tcmalloc", *FEW, *limits, "-o", "w.parquet")[0] == 0
    trace = load("w.parquet")
    [events] = trace.blocks()
    sizes = events.size[events.op != Op.FREE]
    assert len(events) <= 60 and sizes.min() >= 1000 and sizes.max() <= 20 << 10
    assert (100 << 10) - 1000 < summarize(trace).peak.bytes <= 100 << 10


def test_seconds_end_it(run) -> None:
    code, out, _ = run("-a", "fit", "--examples", "1000000", "--seconds", "0.5", "--json")
    assert code == 0 and 0 < json.loads(out)["tried"] < 1_000_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-a", "system"), "system: only lab allocators can be searched: the search looks where blocks lie"),
        (("-a", "fit", "-a", "buddy"), "worst takes one allocator: what is worst for one is not for others"),
        (("-a", "fit", "--measure", "speed"), "unknown measure 'speed'; there are calls fragmentation moves"),
        (
            ("-a", "fit", "--measure", "ns_per_op"),
            "ns_per_op cannot be searched for, in process it has no value: not timed",
        ),
        (("-a", "fit", "--sizes", "4KiB"), "--sizes: found '4KiB', expected LEAST..MOST such as 4KiB..64KiB"),
        (
            ("-a", "fit", "--sizes", "4KiB..1KiB"),
            "sizes 4KiB..1KiB: expected 1 or more, and no more than the 512KiB live",
        ),
        (("-a", "fit", "--live", "much"), "found 'much', expected a size below 8 EiB such as 65536 or 64KiB"),
        (
            ("-a", "fit", "--operations", "3"),
            "3 operations with blocks of 4KiB..120KiB never have 512KiB live: expected 5 or more",
        ),
        (("-a", "fit", "--live", "1TiB", "--sizes", "1GiB..100GiB"), "fit: a heap has no room for 1TiB"),
        (("-a", "fit", "-o", "-"), "a trace does not go to stdout: name a file for it"),
        (("-a", "fit", "-o", "worst.txt"), "worst.txt: the name of this output must end in .parquet"),
    ],
)
def test_bad_input_is_one_line(run, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "") and err.startswith(f"alloclab: {said}") and err.count("\n") == 1


def test_without_hypothesis_it_says_what_to_install(run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("alloclab.check.worst", "alloclab.check.moves"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    code, _, err = run("-a", "fit")
    assert (code, err) == (2, "alloclab: worst needs hypothesis: pip install 'alloclab[check]'\n")


LIMITS = Limits(operations=400, live=1 << 20, least=4096, most=256 << 10)
BEST, FIRST = (f"fit:{how},mmap_threshold=1GiB,top_pad=0" for how in ("policy=best", "policy=first,order=address"))


def test_wedges_bring_best_fit_beyond_what_first_fit_can_be_brought_to() -> None:
    """Robson's comparison of the two: where the lowest address is taken there is a bound, for best fit nearly none."""
    wedges = Plan(16, (Wedge(times=57, units=8, step=1, less=1, small=1, second=2),))
    needed = {}
    for spec in (BEST, FIRST):
        allocator = resolve(spec)
        with Heap(allocator.name, **allocator.tunables()) as heap:
            wedges.play(heap, LIMITS)
            needed[spec] = heap.counters().peak_mapped / LIMITS.live
    _, most = bounds(resolve(FIRST), LIMITS, "fragmentation_4", reallocs=False)
    assert most.kind == "at most" and needed[FIRST] < most.ratio < 8 < needed[BEST]


@pytest.mark.slow
def test_best_fit_is_found_out() -> None:
    """Beyond what first fit can be brought to, by one seed of a few. Of 32 seeds 24 came to 7.9 or more, the others to
    between 2 and 5.7; which of them do hangs on the source of alloclab: Hypothesis draws numbers from it."""
    _, most = bounds(resolve(FIRST), LIMITS, "fragmentation_4", reallocs=False)
    found = (search(resolve(BEST), LIMITS, budget=Budget(500, seed=seed)) for seed in range(6))
    best = next((f for f in found if f.value.value is not None and f.value.value > most.ratio), None)
    assert best is not None and most.kind == "at most"
    assert best.plain.value == pytest.approx(1.0, abs=0.05)
