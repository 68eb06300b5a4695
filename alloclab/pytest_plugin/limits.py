"""Tests with a limit: each is run in a process of its own, and what it asked of malloc is measured afterwards."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pytest

from alloclab.errors import AlloclabError, LaunchError, UsageError
from alloclab.pytest_plugin import CHILD, child
from alloclab.pytest_plugin.bounds import Limit, limits_of
from alloclab.pytest_plugin.measured import Measured, measure
from alloclab.record import Recording, record
from alloclab.run import environment_on

SAME_IN_EVERY_RUN = {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}
HEAD, TAIL = 8, 4
"""Lines shown of what Python says where a process dies: of a crash the first tell most, of an exception the last."""
_STRICT = "[XPASS(strict)] "


def check_markers(items: Sequence[pytest.Item]) -> None:
    """A usage error of pytest's where a limit is none."""
    for item in items:
        try:
            limits_of(item)
        except UsageError as error:
            raise pytest.UsageError(f"{item.nodeid}: {error}") from None


def run_limited(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """The item's part of pytest's protocol, its reports taken from another process."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _reports(item):
        item.ihook.pytest_runtest_logreport(report=report)
    ended = pytest.CallInfo.from_call(lambda: item.session._setupstate.teardown_exact(nextitem), "teardown")
    if ended.excinfo is not None:  # what tests before it had left
        item.ihook.pytest_runtest_logreport(report=pytest.TestReport.from_item_and_call(item, ended))
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def _reports(item: pytest.Item) -> list[pytest.TestReport]:
    limits = limits_of(item)
    with tempfile.TemporaryDirectory(prefix="alloclab-") as name:
        folder = Path(name)
        recording: Recording | None = None
        try:
            recording = _run(item, limits, folder)
        except (LaunchError, OSError) as error:
            trouble = f"cannot be recorded: {error}"
        except pytest.fail.Exception as timeout:  # of a plugin that sees to it
            trouble = str(timeout)
        if recording is None:
            return [_failed(item, trouble, "call")]
        if recording.status == -signal.SIGTERM:  # passed on, or the test's own: as it would without limits
            os.kill(os.getpid(), signal.SIGTERM)
        reports = _read(item, folder)
        if not reports or (reports[-1].when != "teardown" and not reports[-1].failed):
            reports.append(_failed(item, _how_it_ended(recording, folder), "call"))
        called = next((report for report in reports if report.when == "call"), None)
        if called is not None and (folder / "figures").exists() and _went_well(called):
            _judge(item, called, limits, folder, recording)
            reports[-1].user_properties = called.user_properties  # where pytest's own JUnit looks for them
        return reports


# --- run it ---

_PROGRAM = """
import sys
sys.path[:] = {path!r}
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
spec = spec_from_file_location("alloclab_child", {child!r})
child = module_from_spec(spec)
spec.loader.exec_module(child)
child.main(Path({folder!r}))
"""


def _run(item: pytest.Item, limits: Sequence[Limit], folder: Path) -> Recording:
    _write_job(item, folder)
    environment = {**SAME_IN_EVERY_RUN, **os.environ}
    on = next((limit.allocator for limit in limits if limit.marker == "limit_rss"), None)
    captures = folder / "captures"
    captures.mkdir()
    program = _PROGRAM.format(path=sys.path, child=child.__file__, folder=str(folder))
    with warnings.catch_warnings(), _killed_with_us(folder):
        warnings.simplefilter("ignore")  # of a fork amid threads: this one goes on to another program at once
        return record(
            [sys.executable, "-c", program],
            captures,
            children=False,
            env=environment if on is None else environment_on(on, environment),
        )


@contextlib.contextmanager
def _killed_with_us(folder: Path) -> Iterator[None]:
    """Nobody waits for a process of which the test has been given up."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
        raise


def _write_job(item: pytest.Item, folder: Path) -> None:
    config = item.config
    options = {name: value for name, value in vars(config.option).items() if name != "file_or_dir"}
    options["rootdir"] = str(config.rootpath)
    options["inifilename"] = None if config.inipath is None else str(config.inipath)
    factory = getattr(config, "_tmp_path_factory", None)
    if factory is not None:  # one of its own, within ours: pytest empties it as it begins
        options["basetemp"] = tempfile.mkdtemp(prefix="limited-", dir=factory.getbasetemp())
    job = {
        "environ": dict(os.environ),
        "dir": str(config.invocation_params.dir),
        "file": str(item.path),
        "nodeid": item.nodeid,
        "plugin": CHILD,
        "options": dict(_pickled(options)),
        "worker": getattr(config, "workerinput", {"workerid": "main", "workercount": 1, "testrunuid": uuid4().hex}),
    }
    (folder / "job").write_bytes(pickle.dumps(job))


def _pickled(options: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Those that can be."""
    for name, value in options.items():
        with contextlib.suppress(Exception):
            yield name, pickle.dumps(value)


# --- what it says ---


def _read(item: pytest.Item, folder: Path) -> list[pytest.TestReport]:
    """The reports that came; a failure to collect is one of the test's."""
    reports = []
    for data in _entries(folder / "reports"):
        if data == "interrupted":
            raise KeyboardInterrupt
        report = item.config.hook.pytest_report_from_serializable(config=item.config, data=data)
        if isinstance(report, pytest.CollectReport):
            report = _failed(item, f"cannot be collected in a process of its own:\n{report.longreprtext}", "setup")
        reports.append(report)
    return reports


def _entries(file: Path) -> Iterator[Any]:
    if not file.exists():
        return
    with file.open("rb") as stream:
        while True:
            try:
                yield pickle.load(stream)
            except (EOFError, pickle.UnpicklingError):
                return


def _failed(item: pytest.Item, why: str, when: Literal["setup", "call", "teardown"]) -> pytest.TestReport:
    call = pytest.CallInfo.from_call(lambda: pytest.fail(why, pytrace=False), when)
    return pytest.TestReport.from_item_and_call(item, call)


def _how_it_ended(recording: Recording, folder: Path) -> str:
    status = recording.status
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        return "a process of its own does not find the test: its id must be the same in every run"
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
    output = folder / "output"
    said = output.read_text(errors="replace").strip().splitlines() if output.exists() else []
    if len(said) > HEAD + TAIL:
        said = [*said[:HEAD], "  ...", *said[-TAIL:]]
    return "\n".join([f"the process of the test {how}", *said])


def _went_well(report: pytest.TestReport) -> bool:
    """Also where it was expected not to: a limit may be what it goes over."""
    return report.passed or (report.failed and str(report.longrepr).startswith(_STRICT))


# --- judge it ---


def _judge(
    item: pytest.Item, report: pytest.TestReport, limits: Sequence[Limit], folder: Path, recording: Recording
) -> None:
    """Turns the report of a test that went over a limit into one of a failure."""
    figures = pickle.loads((folder / "figures").read_bytes())
    try:
        found = measure(item, limits, figures, recording, folder)
    except AlloclabError as error:
        found = Measured(f"cannot be measured: {error}", ())
    report.user_properties += [(limit.marker, said) for limit, said in found.said]
    if not found.over:
        return
    expected = str(report.longrepr).removeprefix(_STRICT) if report.failed else getattr(report, "wasxfail", None)
    report.longrepr = _failed(item, found.over, "call").longrepr
    report.outcome = "failed"
    if expected is not None:
        report.outcome = "skipped"
        report.wasxfail = expected
