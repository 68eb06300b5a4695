"""``alloclab check`` from end to end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import HERE, compile_c
from support import ROOT

from alloclab import cli
from alloclab.allocators import lab_allocators
from alloclab.check.conformance import rules

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
    found = next(f for f in check["search"] if f["rule"] == "C08")
    assert not check["holds"] and f"C08: {found['sentence']}" in out and f"  1. {found['steps'][0]}" in out
    assert {file.suffix for file in (tmp_path / "r").iterdir()} == {".c", ".parquet", ".txt"}


def test_a_search_that_finds_nothing_is_code_0(run) -> None:
    code, out, err = run("fit", "--rules", "C01", "--examples", "3", "--steps", "10")
    assert (code, err) == (0, "") and "fit: 1 pass" in out and "nothing in 3 examples" in out


def test_a_search_without_hypothesis_is_one_line(run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("alloclab.check.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    code, _, err = run("fit", "--rules", "C01", "--examples", "3")
    assert (code, err) == (2, "alloclab: --examples needs hypothesis: pip install 'alloclab[check]'\n")


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


def test_a_search_on_libc_itself_is_one_line(run) -> None:
    """A process on it is one on nothing."""
    code, _, err = run("libc", "--rules", "C13", "--examples", "1")
    assert (code, err) == (5, "alloclab: libc: not a malloc: it does not define malloc\n")


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
        for more in ([], ["--examples", "2"], ["--reproducers", str(tmp_path / "reproducers")]):
            code, out, err = run(path, "--seconds", "1", "--rules", "C01", *more)
            assert (code, out, err.count("\n")) == (status, "", 1)
            assert err.startswith(f"alloclab: {path}: ") and said in err


def test_the_page_has_every_rule_and_every_drop_in() -> None:
    page = (ROOT / "csrc/check/README.md").read_text()
    heading = next(line for line in page.splitlines() if line.startswith("| rule"))
    assert [name for lab in lab_allocators() if f"| {lab.name} |" not in heading for name in [lab.name]] == []
    assert [rule.number for rule in rules() if f"| {rule.number} | {'must' if rule.must else ''}" not in page] == []
