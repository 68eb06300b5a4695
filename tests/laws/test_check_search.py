"""The property search: it finds nothing in what is sound, what is faulty it finds and tells in few steps, and what it
writes shows the fault again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from programs import HERE, compile_c
from support import budget, slow

from alloclab.allocators import lab_allocators, resolve
from alloclab.check.reproduce import told, trace_events, write
from alloclab.check.search import search
from alloclab.check.steps import Failure, Fault, Step
from alloclab.check.subject import BrokenError, Server
from alloclab.trace.parquet import Trace
from alloclab.trace.validate import validate

NAMES = [lab.name for lab in lab_allocators()]
OTHERS = [name for name in NAMES if name not in ("ptmalloc", "fit")]
FLAGS = ("-shared", "-fPIC", "-fno-builtin")

FAULTS = {
    "DIRTY_CALLOC": ("C04", "is not zero after calloc(1, 1)"),
    "IGNORES_ALIGNMENT": ("C", "returned an address that is "),
    "REALLOC_FORGETS": ("C08", "is not kept by realloc"),
    "USABLE_TOO_SMALL": ("C18", "malloc_usable_size is "),
    "CRASHES": ("crash", "it crashes (SIGSEGV) in "),
    "GIVES_UP": ("crash", ": faulty malloc: the heap is on fire"),
    "EXITS": ("crash", "it ends the process (exit status 7) in "),
}
"""Each fault of the faulty malloc that a search can see, the rule, and what it says."""


@pytest.mark.parametrize("name", ["ptmalloc", "fit", *slow(*OTHERS)])
def test_nothing_is_found_in_a_heap(name: str) -> None:
    found = search(resolve(name), examples=budget(15), steps=40, seed=1)
    assert found is None, told(found)


@pytest.mark.parametrize("name", ["ptmalloc", *slow("fit", *OTHERS, "system")])
def test_nothing_is_found_in_a_drop_in(name: str) -> None:
    found = search(resolve(name), examples=budget(8), steps=40, seed=1, inside=False)
    assert found is None, told(found)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faulty")


def build(folder: Path, fault: str) -> Path:
    return compile_c(HERE / "faulty_family.c", folder / f"{fault}.so", *FLAGS, f"-DFAULT={fault}")


def compile_strictly(source: Path) -> Path:
    """As its reader would."""
    program = source.with_suffix("")
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-pthread", source, "-o", program], check=True)
    return program


def shows(program: Path, library: Path | None) -> tuple[int, str]:
    environment = {} if library is None else {"LD_PRELOAD": str(library)}
    done = subprocess.run([program], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip()


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("fault", ["REALLOC_FORGETS", *slow(*sorted(FAULTS.keys() - {"REALLOC_FORGETS"}))])
def test_a_fault_is_found_and_shown_again(fault: str, faulty: Path) -> None:
    library = build(faulty, fault)
    rule, words = FAULTS[fault]
    found = search(resolve(str(library)), examples=40, steps=70, seed=1, seconds=2)
    assert found is not None
    assert found.rule.startswith(rule) and words in found.sentence, told(found)
    text, source, *_ = write(found, faulty, fault)
    assert text.read_text().startswith(f"{found.rule}: {found.sentence}\n  1. ")
    if fault in ("CRASHES", "GIVES_UP", "EXITS"):  # at the fiftieth malloc
        assert len(found.steps) <= 80
    else:
        assert len(found.steps) <= 3, told(found)
    program = compile_strictly(source)
    assert shows(program, library) == (1, f"{found.rule}: {found.sentence}")
    assert shows(program, None) == (0, "")


@pytest.mark.needs("gcc")
def test_a_hang_is_told(faulty: Path) -> None:
    with Server(resolve(str(build(faulty, "HANGS"))), seconds=1) as server:
        subject = server.subject()
        with pytest.raises(BrokenError, match=r"^malloc does not come back within 1 seconds$"):
            for _ in range(50):
                subject.call("malloc", 1)
        server.subject().close()  # the next is as fresh as any


@pytest.mark.needs("gcc")
@pytest.mark.slow
def test_nothing_is_found_in_the_same_without_a_fault(faulty: Path) -> None:
    found = search(resolve(str(build(faulty, "NONE"))), examples=budget(20), steps=40, seed=1)
    assert found is None, told(found)


def test_the_same_seed_finds_the_same(faulty: Path) -> None:
    library = resolve(str(build(faulty, "REALLOC_FORGETS")))
    once, again = (search(library, examples=20, steps=30, seed=5) for _ in range(2))
    assert once is not None and again is not None and told(once) == told(again)


STEPS = (
    Step("malloc", (100,), None, 1),
    Step("malloc", (1 << 63,)),
    Step("posix_memalign", (256, 256), None, 2, 2),
    Step("realloc", (5000,), 1, 3, 1),
    Step("usable_size", (), 3),
    Step("thread_exit", thread=2),
    Step("free", (), 2, None, 2),
    Step("realloc", (0,), 3),
    Step("calloc", (3, 7), None, 4),
)


@pytest.mark.needs("gcc")
def test_what_is_written_of_threads_and_failures_is_sound(tmp_path: Path) -> None:
    failure = Failure("C04", "calloc", 'byte 0 of 21 is "not" zero', STEPS, Fault("zero", 4, 21))
    _, source, trace = write(failure, tmp_path, "one")
    program = compile_strictly(source)
    assert shows(program, None) == (0, "")
    opened = Trace.open(trace)
    assert len(opened) == 8 and validate(opened) == []


def test_a_trace_cannot_say_that_a_system_call_fails() -> None:
    failure = Failure("C01", "malloc", "no", (Step("malloc", (1,), None, 1, 0, 2),), Fault("null"))
    assert trace_events(failure) is None
