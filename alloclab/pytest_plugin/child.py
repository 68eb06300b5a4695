"""What a test with limits runs in: a process of its own, started under the recorder by
:mod:`alloclab.pytest_plugin.limits`, which finds in the folder that both know

    job       what it was given
    pid       its process
    output    what it wrote, but for what pytest captured
    reports   pytest's, one after the other
    figures   what the kernel says of the test, once it has run

and in the recording two failed calls, of a size that nobody asks for, before the test's code and after it.

It is run by its path, and imports nothing of alloclab: pytest means to be first to import a package with a plugin.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

BEGIN, END = 0x616C6C6F63, 0x616C6C6F64
"""Sizes of the calls that mark the test."""
NO_ALIGNMENT = 24
"""Every posix_memalign refuses it."""
ALONE: dict[str, Any] = {
    "numprocesses": None,
    "maxprocesses": None,
    "dist": "no",
    "tx": [],
    "looponfail": False,
    "usepdb": False,
    "cov_source": [],
    "no_cov": True,
    "cacheclear": False,
}
"""Options of pytest, xdist and pytest-cov: one process, which measures nothing else, and leaves files alone."""


def main(folder: Path) -> None:
    """Runs the one test, with the environment and options that the session has."""
    (folder / "pid").write_text(str(os.getpid()))
    job = pickle.loads((folder / "job").read_bytes())
    os.environ.clear()
    os.environ.update(job["environ"])
    os.chdir(job["dir"])
    options = {name: pickle.loads(value) for name, value in job["options"].items()}
    if options["capture"] != "no":
        output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
    options |= {name: value for name, value in ALONE.items() if name in options}
    config = pytest.Config.fromdictargs(options, [job["file"]])
    config.workerinput = job["worker"]  # type: ignore[attr-defined] # to other plugins it is as a worker of xdist's
    config.workeroutput = {}  # type: ignore[attr-defined]
    config.pluginmanager.register(Child(config, folder, job["nodeid"]), job["plugin"])
    raise SystemExit(config.hook.pytest_cmdline_main(config=config))


class Child:
    """The plugin of that process."""

    def __init__(self, config: pytest.Config, folder: Path, nodeid: str) -> None:
        self.config, self.folder, self.nodeid = config, folder, nodeid
        # Until the session starts: the plugin of the terminal takes what is there when it is configured. Nobody reads
        # what that says, but assertions ask it for colours.
        self.stdout, sys.stdout = sys.stdout, Path(os.devnull).open("w")  # noqa: SIM115
        self.reports = (folder / "reports").open("ab", buffering=0)
        self.figures = Figures()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        sys.stdout = self.stdout

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid == self.nodeid]

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        self.figures.begin()
        try:
            return (yield)
        finally:
            (self.folder / "figures").write_bytes(pickle.dumps(self.figures.end()))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._write(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write(report)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        if excinfo.type is KeyboardInterrupt:
            self.reports.write(pickle.dumps("interrupted"))

    def _write(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        data = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        self.reports.write(pickle.dumps(data))


class Figures:
    """The marks in the recording, and how far resident memory rose between them."""

    def __init__(self) -> None:
        program = ctypes.CDLL(None)
        self._memalign = program.posix_memalign
        self._memalign.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
        self._trim = program.malloc_trim
        self._trim.argtypes = [ctypes.c_size_t]
        self._result = ctypes.c_void_p()
        self._before = self._recorder = 0
        self._refused = ""

    def begin(self) -> None:
        """Free memory that is resident would hide as much of what the test needs: it goes first."""
        gc.collect()
        self._trim(0)
        self._recorder = _recorders_own()
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError as error:
            self._refused = f"the kernel does not let a process forget its peak: {error}"
        self._before = _peak()
        self._mark(BEGIN)

    def end(self) -> dict[str, Any]:
        self._mark(END)
        rose = _peak() - self._before
        rose -= _recorders_own() - self._recorder
        return {"rss": max(rose, 0), "refused": self._refused}

    def _mark(self, size: int) -> None:
        self._memalign(ctypes.byref(self._result), NO_ALIGNMENT, size)


def _peak() -> int:
    """Of resident memory, in bytes, since the kernel forgot it."""
    with Path("/proc/self/status").open() as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def _recorders_own() -> int:
    """Resident bytes of the file that the recorder writes through its mappings."""
    found, here = 0, False
    with Path("/proc/self/smaps").open() as maps:
        for line in maps:
            name = line.split(" ", 1)[0]
            if not name.endswith(":"):
                here = line.endswith(".capture\n")
            elif here and name == "Rss:":
                found += int(line.split()[1]) * 1024
    return found
