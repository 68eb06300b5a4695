"""The command line's own manners: errors are one line and a code, pipes and Ctrl-C end quietly."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from alloclab import cli
from alloclab.errors import TraceError


@pytest.fixture
def broken_command(monkeypatch: pytest.MonkeyPatch):
    """Makes every subcommand raise what the test gives."""

    def install(error: BaseException) -> None:
        @click.command()
        def command() -> None:
            raise error

        monkeypatch.setattr(cli.Commands, "get_command", lambda self, ctx, name: command)

    return install


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (TraceError("a.rep: line 7: found 'x'"), 3, "alloclab: a.rep: line 7: found 'x'\n"),
        (OSError(errno.ENOSPC, "No space left on device", "o.json"), 1, "alloclab: No space left on device: o.json\n"),
        (OSError("two\nlines"), 1, "alloclab: two lines\n"),
        (MemoryError("no memory to compile a trace"), 1, "alloclab: no memory to compile a trace\n"),
        (KeyboardInterrupt(), 130, "alloclab: interrupted\n"),
        (click.UsageError("odd"), 2, "alloclab: odd (see alloclab any --help)\n"),
    ],
)
def test_errors_are_one_line_and_a_code(
    broken_command, error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken_command(error)
    assert cli.run(["any"]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", said)


def test_debug_shows_the_traceback(broken_command) -> None:
    broken_command(TraceError("bad"))
    assert cli.run(["any"]) == 3
    with pytest.raises(TraceError):
        cli.run(["--debug", "any"])


def test_a_command_that_does_not_exist_lists_those_that_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["comparee"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "there is no command 'comparee'" in said and "compare, " in said


def test_an_unknown_option_is_one_line_that_names_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["compare", "--frobnicate"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--frobnicate" in said and "alloclab compare --help" in said


def test_without_arguments_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in ("compare", "record", "replay"))


def test_every_command_has_help_and_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli._modules():
        assert cli.run([name, "--help"]) == 0
        assert "Usage: alloclab" in capsys.readouterr().out


def test_a_reader_that_leaves_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", "from alloclab.cli import main; main()", "--help"], stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert done.stderr == b""


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, b"alloclab: interrupted\n"), (signal.SIGTERM, b"")])
def test_a_signal_that_comes_while_garbage_is_collected_is_not_lost(number: int, said: bytes) -> None:
    code = f"""
import gc, signal, time, click
from alloclab import cli
@click.command()
def command():
    def callback(*_):
        gc.callbacks.remove(callback)
        signal.raise_signal({int(number)})
    gc.callbacks.append(callback)
    gc.collect()
    time.sleep(20)
cli.Commands.get_command = lambda *_: command
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code, "any"], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, b"", said)


def test_a_closed_stdout_is_no_error() -> None:
    run = [sys.executable, "-c", "from alloclab.cli import main; main()", "path", "fit"]
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "_", *run], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_the_command_line_is_light() -> None:
    heavy = "numpy pyarrow matplotlib rich alloclab._core"
    code = f"import sys, alloclab.cli; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path("/"))
    assert done.stdout.strip() == "[]"
