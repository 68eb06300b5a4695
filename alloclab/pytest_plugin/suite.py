"""The rules of malloc and the property search as tests, of the allocators that --alloclab-so names."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from alloclab.allocators import Allocator, resolve
from alloclab.check.again import seen_again
from alloclab.check.conformance import NOT_APPLICABLE, Check, Rule, Verdict, chosen, conformance
from alloclab.check.reproduce import told, write
from alloclab.check.steps import Failure
from alloclab.check.subject import Server
from alloclab.errors import AlloclabError, ReplayError, UsageError
from alloclab.pytest_plugin import CHILD, EXAMPLES
from alloclab.pytest_plugin.files import file_name, files_folder

STEPS = 100
MOST, LAST = 24, 8
"""Steps of a failure that a report shows."""
LONGEST_CALL = 20.0
"""Seconds: a call of the search that takes longer hangs."""
TOLD = "alloclab"
"""Of a report's user properties: what was seen of a rule that holds."""


class Suite:
    """The plugin of a session with an allocator under test."""

    def __init__(self, config: pytest.Config) -> None:
        specs = list(dict.fromkeys(config.option.alloclab_so))
        numbers = config.option.alloclab_rules
        try:
            self.rules = chosen(numbers.split(",") if numbers is not None else [])
            self.allocators = {name: _resolve(spec) for name, spec in _names(specs).items()}
        except UsageError as error:
            raise pytest.UsageError(f"alloclab: {error}") from None
        if config.option.alloclab_examples != EXAMPLES:
            _need_hypothesis()
        config.pluginmanager.register(_fixtures(self.allocators)(), "alloclab-allocator")

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        if config.pluginmanager.has_plugin(CHILD):
            return
        for name, allocator in self.allocators.items():
            collector = UnderTest.from_parent(session, name=name, nodeid=name, allocator=allocator, rules=self.rules)
            items.extend(session.genitems(collector))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Where one of ours is skipped is no line of a file."""
        report = yield
        if isinstance(item, _Test) and isinstance(report.longrepr, tuple):
            report.longrepr = (item.nodeid, None, report.longrepr[2])  # type: ignore[assignment] # pytest folds some so
        return report

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        told = [
            f"{report.nodeid} {what}"
            for report in terminalreporter.getreports("passed")
            for kind, what in report.user_properties
            if kind == TOLD
        ]
        if told:
            terminalreporter.section("alloclab: seen of rules that hold")
            for line in told:
                terminalreporter.line(line)


def _fixtures(allocators: dict[str, Allocator]) -> type:
    class Fixtures:
        @pytest.fixture(params=list(allocators.values()), ids=list(allocators))
        def allocator(self, request: pytest.FixtureRequest) -> Allocator:
            """Each allocator that --alloclab-so names."""
            under_test: Allocator = request.param
            return under_test

    return Fixtures


def _names(specs: list[str]) -> dict[str, str]:
    """A short name for each spec: of a path its file's, where that tells it from all others."""
    files = {spec: Path(spec).name if "/" in spec else spec for spec in specs}
    return {name if list(files.values()).count(name) == 1 else spec: spec for spec, name in files.items()}


def _resolve(spec: str) -> Allocator:
    allocator = resolve(spec)
    if allocator.kind == "null":
        raise UsageError(f"{spec}: the replay loop's own allocator is no malloc of a process")
    return allocator


def _need_hypothesis() -> None:
    try:
        import hypothesis  # noqa: F401
    except ModuleNotFoundError:
        raise pytest.UsageError("--alloclab-examples needs hypothesis: pip install 'alloclab[pytest]'") from None


class UnderTest(pytest.Collector):
    """An allocator: its rules and, last, the search."""

    def __init__(self, *, allocator: Allocator, rules: tuple[Rule, ...], **node: Any) -> None:
        super().__init__(**node)
        self.allocator, self.rules = allocator, rules
        self.trouble = ""
        """Why no program runs on it, once that is known."""

    def collect(self) -> Iterator[pytest.Item]:
        for rule in self.rules:
            yield RuleTest.from_parent(self, name=rule.number, under_test=self, rule=rule)
        if self.config.option.alloclab_examples:
            yield SearchTest.from_parent(self, name="search", under_test=self)


class _Test(pytest.Item):
    def __init__(self, *, under_test: UnderTest, **node: Any) -> None:
        super().__init__(**node)
        self.under_test = under_test

    def runtest(self) -> None:
        if self.under_test.trouble:
            pytest.skip(self.under_test.trouble)
        try:
            self.try_it()
        except AlloclabError as error:
            if isinstance(error, ReplayError):
                self.under_test.trouble = str(error)
            raise pytest.fail.Exception(str(error), pytrace=False) from None

    @abstractmethod
    def try_it(self) -> None: ...

    title: str
    """What it is about."""

    @property
    def patience(self) -> float:
        """Seconds for a single call."""
        return min(LONGEST_CALL, float(self.config.option.alloclab_seconds))

    def keep(self, failure: Failure, number: int) -> str:
        """Writes what shows it again, and says where."""
        name = file_name(self.nodeid) + (f"-{number}" if number > 1 else "")
        first, *others = write(failure, files_folder(self.config), name)
        also = f" and {', '.join(path.suffix for path in others)}" if others else ""
        return f"  shown again by {first}{also}"

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"{self.nodeid} {self.title}"


class RuleTest(_Test):
    """A rule."""

    def __init__(self, *, rule: Rule, **node: Any) -> None:
        super().__init__(**node)
        self.rule, self.title = rule, rule.title

    def try_it(self) -> None:
        check = conformance(self.under_test.allocator.spec, [self.rule], seconds=self.config.option.alloclab_seconds)
        [verdict] = check.verdicts
        if verdict.broken:
            pytest.fail("\n".join([*_finding(verdict), *self._shown_again(check)]), pytrace=False)
        if verdict.verdict == NOT_APPLICABLE:
            pytest.skip(verdict.why)
        self.user_properties += [(TOLD, f"{finding.verdict}: {finding.why}") for finding in verdict.findings]

    def _shown_again(self, check: Check) -> Iterator[str]:
        with Server(self.under_test.allocator, self.patience) as server:
            found = list(seen_again(check, server))
        for number, failure in enumerate(found, 1):
            yield self.keep(failure, number)


def _finding(verdict: Verdict) -> list[str]:
    """What was seen, the worst first, and who says that it is wrong."""
    seen = [finding.why for finding in verdict.findings if finding.verdict == verdict.verdict]
    beside = [f"{f.verdict}: {f.why}" for f in verdict.findings if f.verdict != verdict.verdict]
    return [*seen, *beside, f"source: {verdict.rule.source}"]


def _brief(failure: Failure) -> list[str]:
    """All its steps, or where they are too many to be read the last, which show it."""
    sentence, *steps = told(failure).splitlines()
    return [sentence, *steps] if len(steps) <= MOST else [sentence, "  ...", *steps[-LAST:]]


class SearchTest(_Test):
    """The property search."""

    title = "malloc's calls in any order"

    def try_it(self) -> None:
        try:
            from alloclab.check.search import failures
        except ModuleNotFoundError as missing:
            pytest.skip(f"needs {missing.name}: pip install 'alloclab[pytest]'")
        option = self.config.option
        budget = {"examples": option.alloclab_examples, "steps": STEPS, "seed": option.alloclab_seed}
        lines: list[str] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork in a worker, which has a thread
            for number, failure in enumerate(failures(self.under_test.allocator, **budget, seconds=self.patience), 1):
                lines += [*_brief(failure), self.keep(failure, number)]
        if lines:
            pytest.fail("\n".join(lines), pytrace=False)
