"""Options, markers and profiles shared by all tests."""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from tables import programs_table

import alloclab

# Fixed seeds: a failure in CI is a failure here. `--budget N` searches N times as far, with fresh seeds.
settings.register_profile("fixed", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile("fixed")

# Hypothesis draws from the numbers in the source of whatever is loaded: without this a search that is tested would hang
# on the tests before it.
for module in pkgutil.walk_packages(alloclab.__path__, "alloclab."):
    importlib.import_module(module.name)

LIBRARY_FOLDERS = [Path("/usr/lib/x86_64-linux-gnu"), Path("/usr/lib64"), Path("/usr/lib")]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--budget", type=int, default=1, help="multiply the examples of property and stress tests")


def pytest_configure(config: pytest.Config) -> None:
    budget = config.getoption("--budget")
    os.environ["ALLOCLAB_TEST_BUDGET"] = str(budget)
    if budget > 1:
        settings.load_profile("search")
    # A job in the background ignores Ctrl-C, and so would every program it starts; tests send it to theirs.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@cache
def system_has(name: str) -> bool:
    """Whether a program, a library named libNAME, or that version of glibc is installed; "fixed addresses": whether a
    program may be started without random ones, which some containers forbid; "own mounts": whether it may be given
    mounts of its own; "tests of python3": whether the system's Python has its own tests with it.
    """
    if name == "fixed addresses":
        return shutil.which("setarch") is not None and subprocess.run(["setarch", "-R", "true"]).returncode == 0
    if name == "own mounts":
        mount = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/etc"]
        return shutil.which("unshare") is not None and subprocess.run(mount).returncode == 0
    if name == "tests of python3":
        have_tests = ["/usr/bin/python3", "-c", "import test.test_subprocess"]
        return Path(have_tests[0]).exists() and subprocess.run(have_tests, capture_output=True).returncode == 0
    if name.startswith("glibc "):
        return os.confstr("CS_GNU_LIBC_VERSION") == name
    if name.startswith("lib"):
        return any(next(folder.glob(f"{name}.so*"), None) for folder in LIBRARY_FOLDERS if folder.is_dir())
    return shutil.which(name) is not None


def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = [m.args[0] for m in item.iter_markers("needs") if not system_has(m.args[0])]
    if not missing:
        return
    message = f"not here: {', '.join(missing)}"
    if os.environ.get("CI"):
        pytest.fail(f"{message} (in CI nothing may be missing)", pytrace=False)
    pytest.skip(message)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Which real programs ran on which allocator; the table stays in build/programs.md."""
    groups = [terminalreporter.stats.get(outcome, []) for outcome in ("passed", "failed", "error", "skipped")]
    table = programs_table(report for group in groups for report in group)
    if table:
        terminalreporter.section("real programs on drop-ins: processor time of all their processes")
        terminalreporter.write(table)
        made = config.rootpath / "build/programs.md"
        made.parent.mkdir(exist_ok=True)
        made.write_text(table)


@pytest.fixture(scope="session")
def extra_traces() -> list[Path]:
    """The trace files of the folder that ALLOCLAB_EXTRA_TRACES names; empty where it is not set."""
    folder = os.environ.get("ALLOCLAB_EXTRA_TRACES")
    if not folder:
        return []
    endings = {".parquet", ".trace", ".script", ".rep", ".zip", ".gz", ".wl", ".txt"}
    return sorted(p for p in Path(folder).rglob("*") if p.suffix in endings)
