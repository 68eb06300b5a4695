"""The rules of malloc, tried on any: drop-ins obey them, others deviate as they are known to, and faults are found."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import HERE, compile_c
from support import slow

from alloclab.allocators import lab_allocators
from alloclab.check.conformance import Check, chosen, conformance, rules
from alloclab.errors import UsageError

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
    check = conformance(spec, chosen(numbers), seconds=200)
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
        "C18": "fail"  # of malloc_usable_size(NULL)
    }


@pytest.mark.parametrize(
    "fault", ["MISALIGNED", "GIVES_UP", *slow(*(f for f in FAULTS if f not in ("MISALIGNED", "GIVES_UP")))]
)
def test_a_fault_is_found_by_its_rule(fault: str, tmp_path: Path) -> None:
    number, said = FAULTS[fault]
    check = conformance(faulty(tmp_path, fault), chosen([number]), seconds=2 if fault == "HANGS" else 60)
    assert verdicts(check) == {number: "fail"}
    assert said in why(check, number)


def test_what_is_no_malloc_of_a_process_is_refused() -> None:
    with pytest.raises(UsageError, match="no malloc"):
        conformance("null")
