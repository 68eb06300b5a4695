"""The README's commands, run as they stand, and what they show held against what they print."""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

README = (ROOT / "README.md").read_text()


WIDTH = {"COLUMNS": "112"}


def transcripts() -> list[list[tuple[str, list[str]]]]:
    """The console sessions: each command with the lines shown below it."""
    sessions: list[list[tuple[str, list[str]]]] = []
    for session in re.findall(r"```console\n(.*?)```", README, flags=re.S):
        sessions.append([])
        for line in session.splitlines():
            if line.startswith("$ "):
                sessions[-1].append((line[2:], []))
            else:
                sessions[-1][-1][1].append(line)
    return sessions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands run: like the repository, but for what they write."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "traces").symlink_to(ROOT / "traces")
    return folder


def words(line: str) -> list[str]:
    """A line of output without what differs from run to run: words stay, figures go."""
    return re.findall(r"[A-Za-z_]{3,}", line)


def run(command: str, folder: Path) -> list[str]:
    """The lines that it prints."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | WIDTH
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return (done.stdout + done.stderr).splitlines()


@pytest.mark.slow
@pytest.mark.needs("perl")
@pytest.mark.needs("libjemalloc")
@pytest.mark.needs("libtcmalloc_minimal")
def test_the_session_runs_and_prints_what_it_shows(folder: Path) -> None:
    for command, shown in transcripts()[0]:
        prints(command, shown, folder)


@pytest.mark.needs("perl")
def test_what_a_run_tells_of_its_heap_is_shown(folder: Path) -> None:
    [(command, shown)] = next(session for session in transcripts() if session[0][0].startswith("alloclab run "))
    prints(command, shown, folder)


@pytest.mark.slow
def test_the_worst_prints_what_is_shown(folder: Path) -> None:
    [(command, shown)] = next(session for session in transcripts() if session[0][0].startswith("alloclab worst "))
    prints(command, shown, folder)


def prints(command: str, shown: list[str], folder: Path) -> None:
    printed = {word for line in run(command, folder) for word in words(line)}
    first = {word for line in shown for word in words(line)[:1]}  # where a sentence breaks depends on its figures
    assert first <= printed, command


@pytest.mark.slow
@pytest.mark.needs("glibc 2.36")
def test_what_repeats_is_shown_to_the_letter(folder: Path) -> None:
    repeats(transcripts()[1], folder)


@pytest.mark.slow
@pytest.mark.needs("libjemalloc")
def test_what_repeats_of_jemalloc_is_shown_to_the_letter(folder: Path) -> None:
    repeats(transcripts()[2], folder)


@pytest.mark.slow
@pytest.mark.needs("libtcmalloc_minimal")
def test_what_repeats_of_tcmalloc_is_shown_to_the_letter(folder: Path) -> None:
    repeats(transcripts()[3], folder)


@pytest.mark.slow
def test_threads_side_by_side_print_what_is_shown(folder: Path) -> None:
    (((command, shown),),) = [session for session in transcripts() if "--concurrent" in session[0][0]]
    """But for how a cell goes on in the next line: what is significant hangs on the machine."""
    printed = {word for line in run(command, folder) for word in words(line)}
    assert {word for line in shown if not line.startswith(" " * 20) for word in words(line)[:1]} <= printed


def repeats(session: list[tuple[str, list[str]]], folder: Path) -> None:
    """Every command prints the lines shown below it, in this order; an export is for those that follow."""
    exported = ""
    for command, shown in session:
        if command.startswith("export "):
            exported += f"{command}; "
            continue
        printed = iter([anywhere(line.rstrip()) for line in run(exported + command, folder)])
        for line in shown:
            assert line == "..." or anywhere(line) in printed, f"{command}: {line}"


def test_the_python_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    done = subprocess.run([sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Ledger(" in done.stdout


def test_the_python_sessions_print_what_they_show() -> None:
    """Where a window lies differs from run to run; where a block lies in it does not."""
    names: dict[str, object] = {}
    for session in re.findall(r"```pycon\n(.*?)```", README, flags=re.S):
        for example in doctest.DocTestParser().get_examples(session):
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(example.source, "README.md", "single"), names)
            assert anywhere(printed.getvalue()) == anywhere(example.want)


def anywhere(text: str) -> str:
    """Addresses, and places in a heap that begins where the program's own data happen to end, are not told apart."""
    return re.sub(r"0x[0-9a-f]{6,}", "0x...", text)


def test_the_first_screen_has_a_picture_commands_and_the_table() -> None:
    first = README.splitlines()[:50]
    assert any(line.startswith("![") for line in first)
    assert sum(line.startswith("$ ") for line in first) == 4
    assert any("geometric mean" in line or "fastest" in line for line in first)


def test_every_link_leads_somewhere() -> None:
    for page in ["README.md", "CONTRIBUTING.md", "csrc/README.md", "csrc/check/README.md", "traces/README.md"]:
        text = (ROOT / page).read_text()
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert target.startswith("http") or ((ROOT / page).parent / target).exists(), f"{page}: {target}"
