"""``alloclab check`` from end to end."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import HERE, compile_c
from recorded import ALLOCLAB
from rich.console import Console
from support import ROOT, children_of, started, wait_for

from alloclab import cli, pytest_plugin
from alloclab.allocators import lab_allocators
from alloclab.check import conformance
from alloclab.check.conformance import chosen, rules
from alloclab.commands import check as check_command
from alloclab.machine import libc_file

NOT_A_MALLOC = "int not_a_malloc(void) { return 1; }"
LACKS_A_SYMBOL = """#include <stddef.h>
extern void *nowhere(size_t);
void *malloc(size_t bytes) { return nowhere(bytes); }"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.delenv("COLUMNS", raising=False)

    def go(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(["check", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


@pytest.fixture
def one_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is but C01, and a short search follows: for tests of what is done where nobody says what."""
    only = chosen(["C01"])
    monkeypatch.setattr(conformance, "rules", lambda: only)
    monkeypatch.setattr(check_command, "EXAMPLES", 2)


def library(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.c").write_text(text)
    return str(compile_c(folder / f"{name}.c", folder / f"{name}.so", "-shared", "-fPIC"))


def faulty(folder: Path, fault: str) -> str:
    return str(compile_c(HERE / "faulty_malloc.c", folder / f"{fault}.so", "-shared", "-fPIC", f"-DFAULT={fault}"))


def test_where_all_holds_it_is_code_0(run, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    code, out, err = run("fit", "--rules", "C01,C13", "--json", str(file))
    assert (code, err) == (0, "")
    assert "fit: 2 pass" in out and "C17 DR 460" in out and f"Result: {file}" in out
    document = json.loads(file.read_text())
    (check,) = document["checks"]
    assert document["schema"] == 1 and document["machine"]["libraries"]["fit"]["file"] == "liballoclab-fit.so"
    assert (check["allocator"], check["holds"]) == ("fit", True)
    assert [(rule["number"], rule["must"], rule["verdict"]) for rule in check["rules"]] == [
        ("C01", True, "pass"),
        ("C13", False, "pass"),
    ]


def test_a_broken_rule_is_code_7_and_is_said(run, tmp_path: Path) -> None:
    faulty_so = faulty(tmp_path, "MISALIGNED")
    code, out, err = run(faulty_so, "--rules", "C02,C01")
    assert code == 7
    assert "returned an address that is 8 modulo 16" in " ".join(out.split())
    assert err == f"alloclab: {faulty_so}: 1 pass; fail: C02\n"


@pytest.mark.slow
def test_a_search_tells_what_it_found(run, tmp_path: Path) -> None:
    path = compile_c(HERE / "faulty_family.c", tmp_path / "f.so", "-shared", "-fPIC", "-DFAULT=REALLOC_FORGETS")
    file = tmp_path / "r.json"
    budget = ["--examples", "20", "--steps", "30", "--seed", "1"]
    code, out, err = run(
        str(path), "--rules", "C13", *budget, "--json", str(file), "--reproducers", str(tmp_path / "r")
    )
    assert code == 7 and err.startswith(f"alloclab: {path}: the search found ")
    (check,) = json.loads(file.read_text())["checks"]
    found = next(f for f in check["search"]["failures"] if f["rule"] == "C08")
    assert not check["holds"] and f"C08: {found['sentence']}" in out and f"  1. {found['steps'][0]}" in out
    assert {file.suffix for file in (tmp_path / "r").iterdir()} == {".c", ".parquet", ".txt"}


@pytest.mark.slow
def test_a_search_that_finds_nothing_is_code_0(run) -> None:
    code, out, err = run("fit", "--rules", "C01", "--examples", "3", "--steps", "10", "--seed", "5")
    assert (code, err) == (0, "") and "fit: 1 pass" in out
    assert "fit: the search found nothing in 3 examples of 10 steps, seed 5" in out


@pytest.mark.slow
def test_all_rules_and_a_search_are_tried(run, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    code, out, err = run("fit", "--json", str(file))
    assert (code, err) == (0, "") and "fit: the search found nothing in 100 examples of 100 steps, seed 0" in out
    (check,) = json.loads(file.read_text())["checks"]
    assert check["search"] == {"examples": 100, "steps": 100, "seed": 0, "failures": [], "trouble": ""}
    assert [rule["number"] for rule in check["rules"]] == [rule.number for rule in rules()]


def test_as_many_examples_are_tried_as_by_the_plugin() -> None:
    assert check_command.EXAMPLES == pytest_plugin.EXAMPLES


def test_a_search_follows_the_rules(run, one_rule: None) -> None:
    code, out, err = run("fit", "--steps", "3")
    assert (code, err) == (0, "") and "fit: 1 pass" in out and "No search" not in out
    assert "fit: the search found nothing in 2 examples of 3 steps, seed 0" in out


@pytest.mark.slow
def test_what_it_finds_is_code_7(run, one_rule: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_command, "EXAMPLES", 20)
    path = compile_c(HERE / "faulty_family.c", tmp_path / "f.so", "-shared", "-fPIC", "-DFAULT=USABLE_TOO_SMALL")
    code, out, err = run(str(path), "--steps", "3")
    assert code == 7 and f"{path}: 1 pass" in out and "malloc_usable_size is 0 after" in out
    assert err.startswith(f"alloclab: {path}: the search found ")


def test_no_search_is_made_for_who_wants_none(run, one_rule: None) -> None:
    code, out, err = run("fit", "--examples", "0")
    assert (code, err) == (0, "") and "fit: 1 pass" in out and "search" not in out


def test_who_names_rules_wants_these_and_is_told_once_how_to_search(run) -> None:
    code, out, err = run("fit", "system", "--rules", "C01")
    assert (code, err) == (0, "") and "search found" not in out
    assert out.count("search") == out.count("No search for failures: --examples 100 tries the calls in any order") == 1


@pytest.mark.slow
def test_who_waits_at_a_terminal_is_told_what_for(
    run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = ["fit", "--rules", "C01", "--examples", "1", "--steps", "1"]
    assert "Searching" not in run(*budget)[1]
    monkeypatch.setattr(check_command, "output_console", lambda: Console(force_terminal=True))
    assert "Searching in 1 examples." in run(*budget)[1]


@pytest.mark.slow
def test_markdown_tells_of_the_search_too(run, tmp_path: Path) -> None:
    path = compile_c(HERE / "faulty_family.c", tmp_path / "f.so", "-shared", "-fPIC", "-DFAULT=REALLOC_FORGETS")
    budget = ["--examples", "20", "--steps", "30"]
    code, out, _ = run(str(path), "fit", "--rules", "C01", *budget, "--markdown")
    assert code == 7
    faulty_says, sound_says = out.split(f"\n{path}:\n")[1].split("\nfit:\n")
    assert "- C08 fail, found by the search: " in faulty_says and "every rule holds" not in faulty_says
    assert sound_says == "\n- every rule holds\n- the search found nothing in 20 examples of 30 steps, seed 0\n"


ONLY_FOUR = """#include <errno.h>
#include <stddef.h>
#include <string.h>
static _Alignas(16) char memory[1 << 24];
static size_t top;
void free(void *block) { (void)block; }
void *malloc(size_t bytes) {
    if (bytes > sizeof memory - 64 - top) {
        errno = ENOMEM;
        return NULL;
    }
    size_t *block = (size_t *)(memory + top + 16);
    block[-1] = bytes;
    top += (bytes + 47) / 16 * 16;
    return block;
}
void *calloc(size_t count, size_t size) {
    return malloc(size != 0 && count > (size_t)-1 / size ? (size_t)-1 : count * size);
}
void *realloc(void *block, size_t bytes) {
    void *fresh = malloc(bytes);
    if (fresh != NULL && block != NULL) {
        size_t old = ((size_t *)block)[-1];
        memcpy(fresh, block, old < bytes ? old : bytes);
    }
    return fresh;
}"""


def test_what_was_seen_is_told_also_where_the_search_cannot_begin(run, tmp_path: Path) -> None:
    four, file = library(tmp_path, "four", ONLY_FOUR), tmp_path / "r.json"
    more = ["--examples", "3", "--steps", "10", "--reproducers", str(tmp_path / "r"), "--json", str(file)]
    code, out, err = run(four, "fit", "--rules", "c01, C05", *more)
    trouble = "not a malloc: it defines malloc but not posix_memalign, which would be another library's"
    assert (code, err) == (5, f"alloclab: {four}: {trouble}\n")
    assert f"{four}: the search ended early: {trouble}" in out and "fit: the search found nothing" in out
    checks = json.loads(file.read_text())["checks"]
    assert [check["search"]["trouble"] for check in checks] == [trouble, ""]


def test_one_that_nobody_asked_for_and_cannot_begin_is_a_line(run, one_rule: None, tmp_path: Path) -> None:
    four, file = library(tmp_path, "four", ONLY_FOUR), tmp_path / "r.json"
    code, out, err = run(four, "fit", "--steps", "3", "--json", str(file))
    assert (code, err) == (0, "") and "fit: the search found nothing" in out
    trouble = "not a malloc: it defines malloc but not posix_memalign, which would be another library's"
    assert out.count("early") == out.count(f"{four}: the search ended early: {trouble}") == 1
    checks = json.loads(file.read_text())["checks"]
    assert [(check["holds"], check["search"]["trouble"]) for check in checks] == [(True, trouble), (True, "")]


@pytest.mark.slow
def test_nor_does_it_say_more_of_a_broken_rule(run, one_rule: None, tmp_path: Path) -> None:
    begin = "void *malloc(size_t bytes) {"
    path = library(tmp_path, "wrong", ONLY_FOUR.replace(begin, f"{begin} if (bytes == 0) return memory;"))
    code, out, err = run(path)
    assert (code, err) == (7, f"alloclab: {path}; fail: C01\n") and f"{path}: the search ended early: " in out


def test_of_several_one_that_cannot_begin_leaves_the_others(run, tmp_path: Path) -> None:
    path, file = faulty(tmp_path, "CRASHES_AT_START"), tmp_path / "r.json"
    code, out, err = run("fit", path, "--rules", "C01", "--json", str(file))
    assert code == 5 and err == f"alloclab: {path}: crashes (SIGSEGV) before a program on it begins\n"
    assert "fit: 1 pass" in out and len(json.loads(file.read_text())["checks"]) == 1


def test_a_search_without_hypothesis_is_one_line(run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("alloclab.check.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    code, _, err = run("fit", "--rules", "C01", "--examples", "3")
    assert (code, err) == (2, "alloclab: --examples needs hypothesis: pip install 'alloclab[check]'\n")


def test_without_hypothesis_the_rules_are_tried(run, one_rule: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    code, out, err = run("fit", "system")
    assert (code, err) == (0, "") and "fit: 1 pass" in out and "system: 1 pass" in out
    assert out.count("search") == 1
    assert out.endswith("\nNo search for failures: it needs hypothesis: pip install 'alloclab[check]'\n")


def test_what_only_deviates_is_code_0(run) -> None:
    code, out, err = run("system", "--rules", "C10,C28")
    assert (code, err) == (0, "")
    assert "system: 1 deviating, 1 not applicable" in out


def test_json_or_markdown_alone_on_stdout(run) -> None:
    code, out, err = run("fit", "--rules", "C05", "--json")
    assert (code, err) == (0, "") and json.loads(out)["checks"][0]["holds"] is True
    code, out, err = run("fit", "system", "--rules", "C05, C13", "--markdown")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "| rule | must |  | fit | system | source |"
    assert "| pass | deviates |" in out and "- C13 deviates: aligned\\_alloc(3, 6)" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument"),
        (["nosuch"], "unknown allocator 'nosuch'"),
        (["fit", "nosuch", "--rules", "C10"], "unknown allocator 'nosuch'"),
        (["fit:size=3"], "no tunable 'size'"),
        (["null"], "no malloc"),
        (["fit", "--rules", "C99,C01"], "there is no rule C99; there are C01 to C34"),
        (["fit", "--rules", ""], "there is no rule"),
        (["fit", "--seconds", "0"], "--seconds"),
        (["fit", "--json", "--markdown"], "cannot both go to stdout"),
        (["fit", "--json", "r.txt"], "must end in .json"),
    ],
)
def test_wrong_arguments_are_one_line(run, arguments: list[str], said: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1) and said in err


def test_where_reproducers_cannot_go_is_told_before_any_work(run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder, said in (
        (tmp_path / "file", "is a file, expected a folder"),
        (tmp_path / "file/below", "cannot be made: Not a directory"),
        (Path("/proc/reproducers"), "cannot be made: No such file or directory"),
    ):
        code, out, err = run("fit", "--rules", "C10", "--reproducers", str(folder))
        assert (code, out, err) == (2, "", f"alloclab: {folder}: {said}\n")


def test_a_folder_for_reproducers_is_made(run, tmp_path: Path) -> None:
    folder = tmp_path / "new/folder"
    code, out, err = run("system", "fit", "--rules", "C10", "--reproducers", str(folder))
    assert (code, err) == (0, "")
    assert f"Reproducers: 1 C programs in {folder}" in out and f"Reproducers: 0 C programs in {folder}" in out
    assert {file.name for file in folder.iterdir()} == {f"system-C10.{end}" for end in ("c", "txt", "parquet")}


def test_reproducers_of_two_with_one_name_are_kept_apart(run, tmp_path: Path) -> None:
    code, _, err = run("system", "fit", "system", "--rules", "C10", "--reproducers", str(tmp_path))
    assert (code, err) == (0, "")
    assert {file.name for file in tmp_path.glob("*.c")} == {"system-1-C10.c", "system-3-C10.c"}


def test_libc_is_the_system(run) -> None:
    code, out, err = run("libc", "--rules", "C13", "--examples", "1")
    assert (code, err) == (0, "") and "system: the search found nothing in 1 examples" in out


def test_a_search_on_another_libc_is_one_line(run, one_rule: None, tmp_path: Path) -> None:
    """A process on it is one on nothing."""
    libc = libc_file()
    assert libc is not None
    other, trouble = str(shutil.copy(libc, tmp_path)), "not a malloc: it does not define malloc"
    code, out, err = run(other, "--examples", "1")
    assert "C01" in out and (code, err) == (5, f"alloclab: {other}: {trouble}\n")
    code, out, err = run(other)
    assert (code, err) == (0, "") and f"{other}: the search ended early: {trouble}\n" in out


@pytest.mark.slow  # it hangs
def test_the_search_waits_no_longer_than_a_rule(run, tmp_path: Path) -> None:
    path = compile_c(HERE / "faulty_family.c", tmp_path / "f.so", "-shared", "-fPIC", "-DFAULT=HANGS")
    budget = ["--seconds", "1", "--examples", "5", "--steps", "60"]
    code, out, _ = run(str(path), "--rules", "C13", *budget)
    assert code == 7 and " does not come back within 1 seconds" in out


@pytest.mark.slow  # one hangs
def test_libraries_that_are_none_are_one_line(run, tmp_path: Path) -> None:
    foreign = bytearray(Path(library(tmp_path, "foreign", NOT_A_MALLOC)).read_bytes())
    foreign[18] = 183  # AArch64
    (tmp_path / "foreign.so").write_bytes(foreign)
    (tmp_path / "text.so").write_text("hello")
    expected = {
        library(tmp_path, "other", NOT_A_MALLOC): (2, "not a malloc (it defines no symbol of that name)"),
        str(tmp_path / "foreign.so"): (2, "not a shared library for this machine (64-bit x86)"),
        str(tmp_path / "text.so"): (2, "not a shared library (no ELF header)"),
        str(tmp_path / "missing.so"): (2, "no such library"),
        library(tmp_path, "lacking", LACKS_A_SYMBOL): (5, "crashes (SIGSEGV) before a program on it begins"),
        faulty(tmp_path, "CRASHES_AT_START"): (5, "crashes (SIGSEGV) before a program on it begins"),
        faulty(tmp_path, "HANGS_AT_START"): (5, "hangs before a program on it begins"),
    }
    for path, (status, said) in expected.items():
        seconds = "1" if said.startswith("hangs") else "60"
        for more in ([], ["--examples", "2"], ["--reproducers", str(tmp_path / "reproducers")]):
            code, out, err = run(path, "--seconds", seconds, "--rules", "C01", *more)
            assert (code, out, err.count("\n")) == (status, "", 1)
            assert err.startswith(f"alloclab: {path}: ") and said in err


def test_the_page_has_every_rule_and_every_drop_in() -> None:
    page = (ROOT / "csrc/check/README.md").read_text()
    heading = next(line for line in page.splitlines() if line.startswith("| rule"))
    assert [name for lab in lab_allocators() if f"| {lab.name} |" not in heading for name in [lab.name]] == []
    assert [rule.number for rule in rules() if f"| {rule.number} | {'must' if rule.must else ''}" not in page] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("spec", ["fit", "system"])
def test_a_signal_in_the_middle_of_the_search_ends_it_and_leaves_nobody(spec: str, number: int, tmp_path: Path) -> None:
    command = [*ALLOCLAB, "check", spec, "--rules", "C01", "--examples", "1000000"]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:

        def searches() -> bool:
            """A rule's process does not live as long."""
            before = children_of(running.pid)
            time.sleep(2)
            return bool(before) and children_of(running.pid) == before

        wait_for(searches, "the search")
        searching = children_of(running.pid)
        running.send_signal(number)
        _, err = running.communicate(timeout=60)
    said = b"alloclab: interrupted\n" if number == signal.SIGINT else b""
    assert (running.returncode, err) == (128 + number, said)
    assert searching and not any(Path(f"/proc/{pid}").exists() for pid in searching)


@pytest.mark.slow
@pytest.mark.parametrize("command", [["check", "fit", "--rules", "C01"], ["worst", "-a", "fit", "-o", "../t.parquet"]])
def test_a_search_leaves_nothing_in_the_current_folder(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    subprocess.run(
        [*ALLOCLAB, *command, "--examples", "20"], cwd=tmp_path / "here", check=True, stdout=subprocess.DEVNULL
    )
    assert list((tmp_path / "here").iterdir()) == []
