"""`alloclab record -a`: a program recorded on an allocator, replayed on that same one, has every block where it lay."""

from __future__ import annotations

from pathlib import Path

import pytest
from recorded import build
from support import ROOT, slow

from alloclab.allocators import lab_allocators
from alloclab.cli import run
from alloclab.comparison.fidelity import Fidelity, fidelity
from alloclab.errors import UsageError
from alloclab.replay import Settings
from alloclab.trace import load
from alloclab.trace.parquet import Trace

NO_CHANCE = {"jemalloc": "jemalloc:dirty_decay_ms=-1"}
"""By its clock it chooses at random when to look."""
LABS = [NO_CHANCE.get(lab.name, lab.name) for lab in lab_allocators()]
MANY_MAPPINGS = "ptmalloc:tcache_count=0,mmap_threshold=96KiB"
"""But not of blocks of memalign, of which CHURN's largest take 78 KiB: how much of a mapping such a block may use hangs
on where the kernel puts it."""
CHURN = """
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static char *blocks[500];
static void step(unsigned n) {
    unsigned k = rand() % 500, kind = rand() % 12;
    size_t size = kind == 3 ? rand() % 900000 : rand() % (1 << rand() % 15);
    if (kind < 4) blocks[k] = realloc(blocks[k], size + 1);
    else if (free(blocks[k]), blocks[k] = NULL, kind == 4) blocks[k] = memalign(16 << rand() % 13, size % 9000);
    else if (kind == 5) blocks[k] = calloc(n % 7, size);
    else if (kind == 6) blocks[k] = malloc((size_t)1 << 62);
    else if (kind < 10) blocks[k] = malloc(size);
    if (kind == 11) free(realloc(malloc(size), 0));
}
int main(int count, char **words) {
    srand(atoi(words[1]));
    for (unsigned n = 0; n < 20000; n++) step(n);
    if (count > 2 && fork() == 0) { for (unsigned n = 0; n < 1000; n++) step(n); exit(0); }
    while (wait(NULL) > 0) continue;
    return 7;
}
"""


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("churn"), CHURN)


def recorded(folder: Path, spec: str, *command: str | Path, options: tuple[str, ...] = (), status: int = 0) -> Trace:
    """The command, run on the allocator under the recorder."""
    out = folder / "out.parquet"
    words = [*options, "-a", spec, "--addresses", "-o", str(out), "--", *map(str, command)]
    assert run(["record", *words]) == status
    return load(out)


def against_itself(trace: Trace, spec: str) -> Fidelity:
    found = fidelity(trace, spec, "recorded", settings=Settings(touch="none"))
    assert found.same, f"{found.first}, after {found.before}"
    assert found.recorded is not None and (found.recorded.threads, found.recorded.lost) == (1, 0)
    return found


@pytest.mark.parametrize("seed", [1, *slow(2, 3)])
@pytest.mark.parametrize("spec", [*LABS, MANY_MAPPINGS, "system"])
def test_every_block_lies_where_it_lay(spec: str, seed: int, churn: Path, tmp_path: Path) -> None:
    trace = recorded(tmp_path, spec, churn, str(seed), status=7)
    name = trace.metadata.allocator
    assert name == spec or (spec == "system" and name.startswith("glibc "))
    assert against_itself(trace, spec).operations > 15_000


PROGRAMS = {
    "sed": ["sed", "-n", "s/1/2/p;$p", "numbers"],
    "perl": ["perl", "-e", 'my %h; $h{$_ % 997} .= "x" x ($_ % 77) for 1..30000; print scalar keys %h'],
    "git": ["git", "-C", str(ROOT), "log", "--stat", "-20"],
    "python3": [
        "python3",
        "-E",
        "-S",
        "-c",
        "import json; json.loads(json.dumps([[i] * (i % 50) for i in range(5000)]))",
    ],
    "sqlite3": [
        "sqlite3",
        ":memory:",
        """create table t as with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
        select i, hex(i * 7919 % 1000) as h from n;
        create index th on t(h); select h, count(*), sum(i) from t group by h;""",
    ],
    "gcc": ["gcc", "-O2", "-c", "program.c", "-o", "program.o"],
    "bash": ["bash", "-c", 'for i in {1..3000}; do a[$i]="x$i$i"; b="$b${a[$i]}"; done; echo ${#b}'],
}


@pytest.mark.slow
@pytest.mark.parametrize("spec", [*LABS, "system"])
@pytest.mark.parametrize("program", [pytest.param(name, marks=pytest.mark.needs(name)) for name in PROGRAMS])
def test_so_does_every_block_of_real_programs(
    program: str, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numbers").write_text("\n".join(map(str, range(20000))))
    (tmp_path / "program.c").write_text(CHURN)
    against_itself(recorded(tmp_path, spec, *PROGRAMS[program]), spec)


@pytest.mark.slow
@pytest.mark.needs("glibc 2.36")
@pytest.mark.parametrize("program", [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("perl", "sqlite3")])
def test_a_recording_of_glibc_is_ptmallocs(program: str, tmp_path: Path) -> None:
    against_itself(recorded(tmp_path, "system", *PROGRAMS[program]), "ptmalloc")


def test_another_setting_is_seen(churn: Path, tmp_path: Path) -> None:
    trace = recorded(tmp_path, "ptmalloc:tcache_count=3", churn, "1", status=7)
    assert not fidelity(trace, "ptmalloc", "recorded", settings=Settings(touch="none")).same


def test_a_forked_child_runs_on_it_too_and_is_told_apart(churn: Path, tmp_path: Path) -> None:
    parent = recorded(tmp_path, "fit", churn, "1", "forks", status=7)
    against_itself(parent, "fit")
    (child,) = (load(path) for path in tmp_path.glob("out.parquet.*"))
    assert child.metadata.allocator == "fit"
    found = fidelity(child, "fit", "recorded")
    assert not found.same and found.recorded is not None and found.recorded.forked


def test_settings_and_variables_reach_the_program(churn: Path, tmp_path: Path) -> None:
    """In one process the wrong ones end it, in the other they show."""
    set_by_us = recorded(tmp_path, "system", churn, "1", options=("--env", "system", "MALLOC_ARENA_MAX=1"), status=7)
    assert set_by_us.metadata.allocator.startswith("glibc ")
    spec = "fit:policy=next,mmap_threshold=32KiB"
    assert recorded(tmp_path, "fit:mmap_threshold=32KiB,policy=next", churn, "1", status=7).metadata.allocator == spec


@pytest.mark.needs("libjemalloc")
def test_of_a_library_its_spec_and_variables_are_told(churn: Path, tmp_path: Path) -> None:
    options = ("--env", "libjemalloc", "MALLOC_CONF=narenas:1")
    trace = recorded(tmp_path, "libjemalloc", churn, "1", options=options, status=7)
    assert trace.metadata.allocator == "libjemalloc MALLOC_CONF=narenas:1"


def test_what_comes_next_is_said(churn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(tmp_path, "fit:policy=next", churn, "1", status=7)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"Next: alloclab fidelity {tmp_path}/out.parquet -a fit:policy=next --against recorded"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-a", "fti"], "unknown allocator 'fti'"),
        (["-a", "fit:size=3"], "fit has no tunable 'size'"),
        (["-a", "null"], "null: is the replay loop's own, no malloc that a program could run on"),
        (["-a", "fit", "-a", "bump"], "a program runs on one allocator"),
        (["-a", "fit", "--env", "bump", "A=1"], "--env bump: expected the allocator that the program runs on, fit"),
        (["--env", "fit", "A=1"], "--env fit: expected an allocator to run the program on, -a fit"),
    ],
)
def test_a_wrong_allocator_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["record", *words, "--", "true"]) == UsageError.exit_code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
