"""The rules of malloc, tried on any: drop-ins obey them, others deviate as they are known to, and faults are found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from programs import HERE, compile_c
from support import slow

from alloclab.allocators import lab_allocators
from alloclab.check.conformance import Check, chosen, conformance, rules
from alloclab.errors import ReplayError, UsageError

NOT_JUDGED = {"C32": "recorded", "C33": "recorded"}
NEVER_REUSES = {number: "deviates" for number in ("C10", "C20", "C21", "C22")}
SPECS = [
    *(lab.name for lab in lab_allocators()),
    "fit:policy=next,order=lifo,coalesce=deferred",
    "fit:policy=worst,order=fifo,coalesce=never,mmap_threshold=4KiB,top_pad=0",
]
SOME = [
    *("C01", "C02", "C03", "C05", "C06", "C07", "C09", "C10", "C11", "C13"),
    *("C15", "C16", "C17", "C18", "C23", "C27", "C28", "C30", "C31", "C34"),
]
"""Of which none takes long."""

FAULTS = {
    "OVERLAPS": ("C03", "the contents of a live block of "),
    "DIRTY_CALLOC": ("C04", "returned memory that is not zero"),
    "MISALIGNED": ("C02", "returned an address that is 8 modulo 16"),
    "IGNORES_ALIGNMENT": ("C15", "posix_memalign(32, 2) returned an address that is 16 modulo 32"),
    "REALLOC_FORGETS": ("C08", "lost contents"),
    "REALLOC_OVERRUNS": ("C03", "the contents of a live block of "),
    "USABLE_TOO_SMALL": ("C18", "malloc_usable_size of malloc(3) is 2"),
    "CRASHES": ("C02", "crashes (SIGSEGV) in malloc(2)"),
    "GIVES_UP": ("C02", "aborts in malloc(2): faulty malloc: the heap is on fire"),
    "EXITS": ("C02", "ends the process (exit status 7)"),
    "EXITS_WELL": ("C02", "ends the process (exit status 0)"),
    "HANGS": ("C02", "hangs in malloc(2)"),
    "GARBAGE": ("C03", "crashes (SIGSEGV) in malloc("),
    "UNMAPPED": ("C03", "crashes (SIGSEGV) in malloc("),
    "REFUSES": ("C03", "returned NULL"),
    "RUNS_AWAY": ("C02", "returned NULL"),
    "SAME_ZERO": ("C01", "two live blocks of 0 bytes have the same address"),
    "FREE_SCRIBBLES": ("C03", "the contents of a live block of "),
}
"""Each fault of the faulty malloc, a rule that shows it, and what it says."""


def verdicts(check: Check) -> dict[str, str]:
    return {v.rule.number: v.verdict for v in check.verdicts}


def why(check: Check, number: str) -> str:
    return next(v.why for v in check.verdicts if v.rule.number == number)


def obeys(spec: str, numbers: list[str]) -> None:
    check = conformance(spec, chosen(numbers), seconds=600)
    expected = NOT_JUDGED | (NEVER_REUSES if spec == "bump" else {})
    wrong = {
        v.rule.number: (v.verdict, v.why) for v in check.verdicts if v.verdict != expected.get(v.rule.number, "pass")
    }
    assert (check.broken, wrong) == ([], {})


@pytest.mark.parametrize("spec", ["ptmalloc", *slow(*(spec for spec in SPECS if spec != "ptmalloc"))])
def test_a_drop_in_obeys_what_is_soon_told(spec: str) -> None:
    obeys(spec, SOME)


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS)
def test_a_drop_in_obeys_every_other_rule(spec: str) -> None:
    """Where nothing coalesces, what was cut small stays so: memory does not come back for what is asked next."""
    leave_out = {"C20", "C21", "C22"} if "never" in spec else set()
    obeys(spec, [rule.number for rule in rules() if rule.number not in {*SOME, *leave_out}])


def test_the_rules_are_all_there() -> None:
    assert [rule.number for rule in rules()] == [f"C{i:02}" for i in range(1, 35)]
    assert {rule.number for rule in rules() if not rule.must} == {"C13", "C32", "C33"}
    assert all(rule.title and rule.source for rule in rules())


# --- others ---


def test_the_systems_malloc_deviates_as_it_is_known_to() -> None:
    check = conformance("system", chosen(["C10", "C13", "C27", "C28", "C31"]))
    assert verdicts(check) == {
        **{"C10": "deviates", "C13": "deviates", "C27": "pass"},
        **{"C28": "not-applicable", "C31": "not-applicable"},
    }
    assert "aligned_alloc(3, 6) returned a block (and 5 more like it)" in why(check, "C13")


def expect(spec: str, failing: dict[str, str], deviating: dict[str, str]) -> None:
    check = conformance(spec, chosen([*failing, *deviating, "C28"]))
    assert verdicts(check) == {
        **dict.fromkeys(failing, "fail"),
        **dict.fromkeys(deviating, "deviates"),
        "C28": "not-applicable",
    }
    for number, sentence in {**failing, **deviating}.items():
        assert sentence in why(check, number)


@pytest.mark.needs("libjemalloc")
def test_jemalloc_deviates_as_it_is_known_to() -> None:
    failing = {
        "C09": "realloc to PTRDIFF_MAX + 1 failed with errno 0, not ENOMEM",
        "C15": "memalign(16, 0) returned an address that is 8 modulo 16",
        "C16": "alignment + size past SIZE_MAX failed with errno 0",
        "C22": "64 MiB",
        "C27": "pvalloc is answered by libc.so.6, free by libjemalloc.so.2",
        "C31": "pvalloc is answered by libc.so.6",
    }
    expect("libjemalloc", failing, {"C10": "errno is not EINVAL"})


@pytest.mark.needs("libtcmalloc_minimal")
def test_tcmalloc_deviates_as_it_is_known_to() -> None:
    failing = {"C05": "calloc(SIZE_MAX / 2, 3) failed with errno 0", "C27": "pvalloc(SIZE_MAX) returned a block"}
    expect("libtcmalloc_minimal", failing, {"C10": "errno is not EINVAL", "C13": "aligned_alloc(3, 6) returned"})


@pytest.mark.needs("libmimalloc")
def test_mimalloc_deviates_as_it_is_known_to() -> None:
    failing = {
        "C05": "failed with errno 0",
        "C06": "failed with errno 0",
        "C09": "failed with errno 0",
        "C12": "posix_memalign(256, 256) returned an address that is 128 modulo 256",
        "C16": "failed with errno 0",
    }
    expect("libmimalloc", failing, {"C10": "realloc(p, 0) returns a block"})


# --- they can fail ---


def faulty(folder: Path, fault: str) -> str:
    return str(compile_c(HERE / "faulty_malloc.c", folder / f"{fault}.so", "-shared", "-fPIC", f"-DFAULT={fault}"))


@pytest.mark.slow
def test_without_a_fault_its_rules_hold(tmp_path: Path) -> None:
    check = conformance(faulty(tmp_path, "NONE"), chosen([number for number, _ in FAULTS.values()]))
    assert {number: verdict for number, verdict in verdicts(check).items() if verdict != "pass"} == {
        "C15": "not-applicable",  # in part: memalign and aligned_alloc are libc's
        "C18": "fail",  # of malloc_usable_size(NULL)
    }


@pytest.mark.parametrize(
    "fault", ["MISALIGNED", "GIVES_UP", *slow(*(f for f in FAULTS if f not in ("MISALIGNED", "GIVES_UP")))]
)
def test_a_fault_is_found_by_its_rule(fault: str, tmp_path: Path) -> None:
    number, said = FAULTS[fault]
    check = conformance(faulty(tmp_path, fault), chosen([number]), seconds=5 if fault == "HANGS" else 60)
    assert verdicts(check) == {number: "fail"}
    assert said in why(check, number)


# --- a library that lacks functions ---


def four(folder: Path, *flags: str) -> Check:
    """Of a correct malloc, free, calloc, realloc and no more; the rules that need more, and what they say."""
    library = compile_c(HERE / "four_functions.c", folder / "four.so", "-shared", "-fPIC", "-fno-builtin", *flags)
    left_out = {"C19", "C20", "C21", "C22", "C24", "C27", "C31"}
    return conformance(str(library), [rule for rule in rules() if rule.number not in left_out])


@pytest.mark.slow
def test_a_library_is_not_blamed_for_what_libc_answers(tmp_path: Path) -> None:
    check = four(tmp_path)
    assert {v.rule.number: v.why for v in check.verdicts if v.broken} == {}
    lacking = {number for number, verdict in verdicts(check).items() if verdict == "not-applicable"}
    assert lacking - {"C34"} == {"C12", "C13", "C14", "C15", "C16", "C18", "C28"}
    assert why(check, "C18") == "malloc_usable_size is answered by libc.so.6, not by four.so"
    assert why(check, "C28") == "free_sized and free_aligned_sized are not there"


@pytest.mark.slow
def test_of_two_functions_the_one_that_is_lacking_is_named(tmp_path: Path) -> None:
    assert why(four(tmp_path, "-DFREES_SIZED"), "C28") == "free_aligned_sized is not there"
    both = four(tmp_path, "-DFREES_SIZED", "-DFREES_ALIGNED_SIZED")
    assert why(both, "C28") == "aligned_alloc is answered by libc.so.6, not by four.so"


def test_what_is_no_malloc_of_a_process_is_refused() -> None:
    with pytest.raises(UsageError, match="no malloc"):
        conformance("null")


# --- what a library writes is none of the program's answers ---

MEDDLES = """#include "faulty_malloc.c"
__attribute__((constructor)) static void begins(void) {
    for (int file = 3; file < 1000; file++)
        if (write(file, "by nothing\\n", 11) < 0) continue;
}"""


def library(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.c").write_text(text)
    return str(compile_c(folder / f"{name}.c", folder / f"{name}.so", "-shared", "-fPIC", "-DFAULT=NONE", f"-I{HERE}"))


def test_what_a_library_writes_to_standard_output_is_no_verdict(tmp_path: Path) -> None:
    loud, quiet = (
        conformance(library(tmp_path, name, f'#include "faulty_{name}.c"'), chosen(["C01", "C18"]))
        for name in ("loud", "family")
    )
    assert verdicts(loud) == verdicts(quiet) == {"C01": "pass", "C18": "fail"}
    assert why(loud, "C18") == f"{why(quiet, 'C18')}: fail C01 x"  # it crashes, and that it said last


def test_an_answer_that_is_none_is_told(tmp_path: Path) -> None:
    meddles = library(tmp_path, "meddles", MEDDLES)
    with pytest.raises(ReplayError, match=r"meddles\.so: what the rules' program says is not its own$"):
        conformance(meddles, chosen(["C01"]))


def test_the_program_answers_where_standard_input_and_output_are_closed() -> None:
    """What it answers in takes neither's place."""
    tried = "from alloclab.check.conformance import *; assert not conformance('fit', chosen(['C01'])).broken"
    command = ["/bin/sh", "-c", 'exec "$@" <&- >&-', "sh", sys.executable, "-c", tried]
    done = subprocess.run(command, check=False)
    assert done.returncode == 0
