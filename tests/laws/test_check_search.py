"""The property search: it finds nothing in what is sound, what is faulty it finds and tells in few steps, and what it
writes shows the fault again."""

from __future__ import annotations

import errno
import mmap
import os
import random
import shutil
import signal
import subprocess
import textwrap
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from programs import HERE, compile_c
from support import budget, slow, wait_for

from alloclab.allocators import lab_allocators, resolve
from alloclab.check import machine
from alloclab.check.apart import Journal, apart
from alloclab.check.machine import MallocMachine, class_edges
from alloclab.check.model import Model, RuleError
from alloclab.check.reproduce import told, trace_events, write
from alloclab.check.search import failures, search
from alloclab.check.shrink import replayed, shrunk
from alloclab.check.steps import Failure, Fault, Step
from alloclab.check.subject import (
    _KINDS,
    _REPLY,
    _REQUEST,
    THREADS,
    Answer,
    BrokenError,
    GlassSubject,
    LocalSubject,
    MissingError,
    Server,
)
from alloclab.errors import ReplayError
from alloclab.heap import Thread
from alloclab.machine import libc_file
from alloclab.native import built_file
from alloclab.trace.parquet import Trace
from alloclab.trace.validate import validate

NAMES = [lab.name for lab in lab_allocators()]
OTHERS = [name for name in NAMES if name not in ("ptmalloc", "fit")]
FLAGS = ("-shared", "-fPIC", "-fno-builtin")

FAULTS = {
    "OVERLAPS": ("", "", 200),
    "DIRTY_CALLOC": ("C04", "is not zero after calloc(1, 1)", 1),
    "MISALIGNED": ("C02", " returned an address that is 8 modulo 16", 200),
    "IGNORES_ALIGNMENT": ("C", " returned a", 2),
    "REALLOC_FORGETS": ("C08", "byte 0 of 1 is not kept by realloc", 2),
    "REALLOC_OVERRUNS": ("I4", " of a live block is no longer what was written", 3),
    "USABLE_TOO_SMALL": ("C18", "malloc_usable_size is 0 after ", 1),
    "CRASHES": ("crash", "it crashes (SIGSEGV) in ", 100),
    "GIVES_UP": ("crash", ": faulty malloc: the heap is on fire", 100),
    "EXITS": ("crash", "it ends the process (exit status 7) in ", 100),
    "EXITS_WELL": ("crash", "it ends the process (exit status 0) in ", 100),
    "GARBAGE": ("crash", "it crashes (SIGSEGV) in ", 200),
    "UNMAPPED": ("crash", "it crashes (SIGSEGV) in ", 200),
    "REFUSES": ("C01", " returned NULL", 200),
    "RUNS_AWAY": ("C01", " returned NULL", 200),
    "SAME_ZERO": ("C01", "returned 0 bytes that overlap a block of 0 bytes that is live", 2),
    "FREE_SCRIBBLES": ("I4", " of a live block is no longer what was written", 3),
    "HANGS": ("hang", " does not come back within 5 seconds", 100),
}
"""Each fault of the faulty malloc, the rule, what it says, and in how many steps at most: where it shows at the
hundredth call there is not the time here to find the fewest. What the overlapping block is seen by depends on what its
header, inside another block, happens to hold."""
QUICK = "REALLOC_FORGETS"


@pytest.mark.parametrize("name", ["ptmalloc", "fit", *slow(*OTHERS)])
def test_nothing_is_found_in_a_heap(name: str) -> None:
    found = search(resolve(name), examples=budget(8), steps=40, seed=1)
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
@pytest.mark.parametrize("fault", [QUICK, *slow(*sorted(FAULTS.keys() - {QUICK}))])
def test_a_fault_is_found_and_shown_again(fault: str, faulty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = build(faulty, fault)
    rule, words, most = FAULTS[fault]
    monkeypatch.setattr(MallocMachine, "shrinking", 60.0 if most < 100 else 3.0)
    seconds = 5 if fault == "HANGS" else 20
    found = search(resolve(str(library)), examples=40, steps=max(most, 100), seed=1, seconds=seconds)
    assert found is not None
    assert found.rule.startswith(rule) and words in found.sentence and len(found.steps) <= most, told(found)
    text, source, *_ = write(found, faulty, fault)
    assert text.read_text().startswith(f"{found.rule}: {found.sentence}\n  1. ")
    program = compile_strictly(source)
    if fault in ("RUNS_AWAY", "HANGS"):  # a program cannot say it, or not soon
        return
    assert shows(program, library) == (1, f"{found.rule}: {found.sentence}")
    assert shows(program, None) == (0, "")


@pytest.mark.slow
@pytest.mark.needs("gcc")
def test_a_hang_is_told(faulty: Path) -> None:
    with Server(resolve(str(build(faulty, "HANGS"))), seconds=3) as server:
        subject = server.subject()
        with pytest.raises(BrokenError, match=r"^malloc does not come back within 3 seconds$"):
            for _ in range(50):
                subject.call("malloc", 1)
        server.subject().close()  # the next is as fresh as any


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("fault", ["NONE", QUICK])
def test_a_library_that_writes_to_standard_output_is_searched_as_any(fault: str, faulty: Path) -> None:
    loud = compile_c(HERE / "faulty_loud.c", faulty / f"loud-{fault}.so", *FLAGS, f"-DFAULT={fault}")
    found = [search(resolve(str(library)), examples=5, steps=40, seed=1) for library in (loud, build(faulty, fault))]
    assert found[0] == found[1] and (found[0] is None) == (fault == "NONE")


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


# --- the fewest steps ---


class Planned(LocalSubject):
    """A bump allocator with two faults: every tenth malloc is misaligned if it is of more than 900 bytes, and
    returns NULL if it is of less than 100 and a block was freed before."""

    def __init__(self) -> None:
        self.buffer = mmap.mmap(-1, 1 << 30)
        self.top = -(-self.address_of(self.buffer) // 4096) * 4096
        self.calls = 0
        self.freed = False

    def call(self, name: str, *arguments: int, thread: int = 0) -> Answer:
        if name == "free":
            self.freed = True
            return Answer(0)
        if name != "malloc":
            raise MissingError
        self.calls += 1
        start = self.top
        self.top += -(-max(arguments[0], 1) // 16) * 16 + 16
        tenth = self.calls % 10 == 0
        if tenth and arguments[0] < 100 and self.freed:
            return Answer(0)
        return Answer(start + 8 * (tenth and arguments[0] > 900) if arguments[0] < 1 << 24 else 0)


def first_and_smaller(seed: int) -> tuple[Failure, Failure]:
    """What random steps find, and what is made of it."""
    rng = random.Random(seed)
    steps = [Step("malloc", (rng.randrange(1000),), None, n, rng.randrange(3)) for n in range(1, 400)]
    for block in rng.sample(range(1, 400), 130):
        at = rng.randrange(block, len(steps) + 1)
        steps.insert(at, Step("free", (), block))
    first = replayed(tuple(steps), Planned())
    assert first is not None
    return first, shrunk(first, lambda steps: replayed(steps, Planned()), seconds=60)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_made_smaller_stays_what_was_found(seed: int) -> None:
    """Though the same steps, a little changed, show the other fault."""
    first, smaller = first_and_smaller(seed)
    assert smaller.key == first.key
    assert replayed(smaller.steps, Planned()) == smaller
    plain = (Step("malloc", (0,), None, n) for n in range(1, 10))
    if first.rule == "C02":
        assert smaller.steps == (*plain, Step("malloc", (901,), None, 10))
    else:
        assert first.rule == "C01" and len(smaller.steps) % 10 == 1  # and none can be left out alone
        assert sum(step == Step("free", (), step.block) for step in smaller.steps) == 1
        assert all(step.numbers in ((0,), (1,)) for step in smaller.steps if step.name == "malloc")


@pytest.mark.slow
def test_both_faults_are_met() -> None:
    assert {first_and_smaller(seed)[0].rule for seed in range(8)} == {"C01", "C02"}


def test_each_failure_is_an_exception_of_its_own() -> None:
    """Hypothesis, which shrinks what a class of your own finds, tells failures apart by what was raised."""
    raised = []
    for step in (Step("malloc", (1 << 63,)), Step("calloc", (1 << 63, 1)), Step("malloc", (1 << 63,))):
        with pytest.raises(RuleError) as caught:
            Model(Serving()).do(step)
        raised.append(type(caught.value))
    assert raised[0] is raised[2] is not raised[1]


class Serving(Planned):
    """Impossible sizes, too."""

    def call(self, name: str, *arguments: int, thread: int = 0) -> Answer:
        assert all(0 <= number < 1 << 64 for number in arguments)
        return Answer(self.top if Step(name, arguments).bytes >= 1 << 63 else 0)


@pytest.mark.parametrize(
    "step",
    [Step("calloc", (1 << 63, 2)), Step("pvalloc", ((1 << 64) - 1,)), Step("memalign", (1 << 12, (1 << 64) - 1))],
)
def test_no_number_grows_beyond_a_word(step: Step) -> None:
    first = replayed((step,), Serving())
    assert first is not None and first.fault.kind == "served"
    smaller = shrunk(first, lambda steps: replayed(steps, Serving()), seconds=60)
    assert smaller.key == first.key and smaller.steps[0].bytes == 1 << 63


# --- a malloc that does not do the same each time ---


def moody(monkeypatch: pytest.MonkeyPatch, null: Callable[[int, int], bool]) -> None:
    """A malloc that returns NULL where it is in the mood, by the number of the call, of those that must not fail, and
    the size."""
    usual, fail_call, calls, in_need = GlassSubject._malloc, GlassSubject.fail_call, count(1), False

    def fail(heap: GlassSubject, nth: int) -> int:
        nonlocal in_need
        in_need = nth > 0
        return fail_call(heap, nth)

    def malloc(heap: GlassSubject, thread: Thread, size: int) -> int:
        must_not_fail = not in_need and size <= machine.LARGEST
        return 0 if must_not_fail and null(next(calls), size) else usual(heap, thread, size)

    monkeypatch.setattr(GlassSubject, "fail_call", fail)
    monkeypatch.setattr(GlassSubject, "_malloc", malloc)
    monkeypatch.setattr(MallocMachine, "shrinking", 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_what_fails_but_once_is_told(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though Hypothesis says that its example, begun as another was, went on otherwise."""
    moody(monkeypatch, lambda call, size: call == 300)
    found = search(resolve("bump"), examples=400, steps=10, seed=seed)
    assert found is not None and (found.rule, found.function) == ("C01", "malloc"), found


@pytest.mark.slow
def test_what_differs_from_time_to_time_does_not_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """No bytes may be NULL, or not."""
    moody(monkeypatch, lambda call, size: (size == 0 and call % 2 == 0) or call == 400)
    found = search(resolve("bump"), examples=400, steps=10, seed=0)
    assert found is not None and found.rule == "C01", found


@pytest.mark.slow
def test_ctrl_c_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count(1)
    monkeypatch.setattr(
        GlassSubject, "_trim", lambda *_: 0 if next(calls) != 40 else signal.raise_signal(signal.SIGINT)
    )
    with pytest.raises(KeyboardInterrupt):
        search(resolve("bump"), examples=200, steps=30, seed=1)


# --- a heap that takes its process with it ---


@pytest.mark.slow
def test_a_heap_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def dies_at_the_third(heap: GlassSubject, *_: object) -> int:
        heap.trims = getattr(heap, "trims", 0) + 1  # type: ignore[attr-defined]
        if heap.trims == 3:  # type: ignore[attr-defined]
            os.write(2, b"trim(): no more of that\n")
            os.kill(os.getpid(), signal.SIGABRT)
        return 0

    monkeypatch.setattr(GlassSubject, "_trim", dies_at_the_third)
    found = search(resolve("fit"), examples=40, steps=40, seed=1)
    trim = Step("trim", (0,))
    assert found == Failure(
        "crash",
        "trim",
        "it crashes (SIGABRT) in trim: trim(): no more of that",
        (trim, trim, trim),
        Fault("crash"),
    )


def test_a_free_that_kills_is_not_called_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lives at the end of an example then lives on."""
    free = GlassSubject._free

    def dies_of_two_threads(heap: GlassSubject, *given: Any) -> int:
        if len(heap._threads) > 1 and given[1]:
            os.kill(os.getpid(), signal.SIGABRT)
        return free(heap, *given)

    monkeypatch.setattr(GlassSubject, "_free", dies_of_two_threads)
    monkeypatch.setattr(MallocMachine, "shrinking", 0.2)
    found = failures(resolve("fit"), examples=5, steps=10, seed=1)
    assert [failure.function for failure in found] == ["free"]


def test_a_class_without_free_comes_to_its_end() -> None:
    class Bump(Planned):
        def call(self, name: str, *arguments: int, thread: int = 0) -> Answer:
            if name == "free":
                raise MissingError
            return super().call(name, *arguments, thread=thread)

    model = Model(Bump())
    model.do(Step("malloc", (10,)))
    model.end()
    assert list(model.live) == [1]


@pytest.mark.slow
def test_a_heap_that_hangs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GlassSubject, "_trim", lambda *_: signal.pause())
    found = search(resolve("fit"), examples=40, steps=40, seed=1, seconds=2)
    trim = (Step("trim", (0,)),)
    assert found == Failure("hang", "trim", "trim does not come back within 2 seconds", trim, Fault("hang"))


def test_a_journal_has_what_was_done_last() -> None:
    journal = Journal(seconds=20)

    def add(steps: tuple[Step, ...], last: Step) -> None:
        journal.begin()
        assert journal.steps() == ()
        for done in range(1, len(steps) + 1):
            journal.add([*steps[: done - 1], replace(steps[done - 1], result=None)])
        journal.add([*steps, Step("free", (), 4)])
        journal.add([*steps, last])  # instead: there was no such function, so it was not done

    for steps in (STEPS[:3], STEPS):
        for last in (Step("free", (), 4), Step("malloc", (1,))):
            apart(partial(add, steps, last))
            assert journal.steps() == (*steps, last)


# --- a class of one's own ---


def example(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(text, names)
    return names


@pytest.mark.slow
def test_the_documented_class_of_ones_own_runs() -> None:
    assert machine.__doc__ is not None
    text = textwrap.dedent(machine.__doc__[machine.__doc__.index("    import ") :])
    assert example(text)["TestStack"]("runTest").run().wasSuccessful()
    wrong = example(text.replace("start + max(arguments[0], 1)", "start + arguments[0]"))
    model = Model(wrong["Stack"]())
    model.do(Step("malloc", (0,)))
    with pytest.raises(RuleError, match="C01: malloc\\(0\\) returned 0 bytes that overlap a block of 0 bytes"):
        model.do(Step("malloc", (0,)))


# --- promises ---


@pytest.mark.parametrize("name", ["ptmalloc", "jemalloc"])
def test_a_promise_that_is_broken_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GlassSubject, "stays", lambda *_: True)
    model = Model(GlassSubject(resolve(name)))
    first = model.do(Step("malloc", (100,)))
    assert first is not None and model.do(Step("malloc", (100,))) is not None
    with pytest.raises(RuleError, match=r"I15: realloc\(b1, 5000\) moved a block of 1\d\d usable bytes"):
        model.do(Step("realloc", (5000,), first.number))


def test_aligned_pages_of_a_small_size_are_promised_no_place() -> None:
    """They are of no class, and a realloc finds one for them."""
    model = Model(GlassSubject(resolve("tcmalloc-hpaa")))
    pages = model.do(Step("memalign", (16384, 188417)))
    assert pages is not None and pages.usable == 196608
    moved = model.do(Step("realloc", (196608,), pages.number))
    assert moved is not None and moved.address != pages.address


def test_a_thread_that_leaves_its_cache_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GlassSubject, "exit_thread", lambda *_: None)
    model = Model(GlassSubject(resolve("ptmalloc")))
    block = model.do(Step("malloc", (100,), thread=1))
    assert block is not None
    model.do(Step("free", block=block.number, thread=1))
    with pytest.raises(RuleError, match="I16: 1 threads have caches, and there are 0 threads"):
        model.do(Step("thread_exit", thread=1))


# --- the sizes of classes ---


@pytest.mark.parametrize(("name", "known"), [("system", {24, 40, 56}), ("jemalloc", {8, 16, 48, 80, 96, 320, 14336})])
def test_the_edges_of_classes_are_measured(name: str, known: set[int]) -> None:
    with Server(resolve(name)) as server:
        subject = server.subject()
        assert known <= set(class_edges(subject))
        subject.close()


# --- what is asked of a process that serves ---


def reply_to(server: Server, kind: int, thread: int = 0) -> tuple[int, int, int]:
    server._requests.write(_REQUEST.pack(kind, thread, 0, 0, 0))
    return server.reply()


def test_what_cannot_be_asked_is_refused() -> None:
    refused = (3, errno.EINVAL, 0)
    with Server(resolve("fit")) as server:
        subject = server.subject()
        assert reply_to(server, len(_KINDS)) == refused
        assert reply_to(server, 1 << 31) == refused
        assert reply_to(server, _KINDS.index("malloc"), THREADS) == refused
        assert reply_to(server, _KINDS.index("begin")) == refused
        assert subject.call("malloc", 10, thread=THREADS - 1).value != 0
        subject.exit_thread(THREADS - 1)
        subject.exit_thread(THREADS - 1)  # twice is once
        subject.close()


@pytest.mark.parametrize(("asked", "well"), [(b"", True), (bytes(7), True), (_REQUEST.pack(2, 0, 0, 1, 0), False)])
def test_a_server_ends_with_its_input(asked: bytes, well: bool) -> None:
    """In the middle of a request, too; a call before a process has begun is none."""
    begin, end = (_REQUEST.pack(kind, 0, 0, 0, 0) for kind in range(2))
    command = [str(built_file("alloclab-replay")), "--serve"]
    done = subprocess.run(command, input=begin + end + asked, capture_output=True, check=False)
    assert (len(done.stdout), done.stderr, done.returncode == 0) == (2 * _REPLY.size, b"", well)


@pytest.mark.slow
def test_a_process_ends_with_the_server() -> None:
    with Server(resolve("fit")) as server:
        pid = server.subject().pid
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the end of the process")


def test_a_crash_in_a_thread_is_told() -> None:
    with Server(resolve("fit")) as server:
        subject = server.subject()
        with pytest.raises(BrokenError, match=r"^it crashes \(SIGSEGV\) in fill$"):
            subject._ask("fill", 8, 8, thread=3)
        other = server.subject()
        assert other.call("malloc", 8, thread=3).value != 0
        other.close()


@pytest.mark.slow
@pytest.mark.needs("libjemalloc")
def test_an_alignment_that_only_no_bytes_lack_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among other failures, which are found before."""
    monkeypatch.setattr(MallocMachine, "shrinking", 2.0)
    found = failures(resolve("libjemalloc"), examples=400, steps=40, seed=1, seconds=5)
    assert any(f.sentence == "memalign(16, 0) returned an address that is 8 modulo 16" for f in found)


def test_why_a_library_is_no_malloc_is_told_however_soon_the_server_ends(tmp_path: Path) -> None:
    libc = libc_file()
    assert libc is not None
    with Server(resolve(str(shutil.copy(libc, tmp_path)))) as server:
        server._process.wait()
        with pytest.raises(ReplayError, match="not a malloc: it does not define malloc"):
            server.subject()
