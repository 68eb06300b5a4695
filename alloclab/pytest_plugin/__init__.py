"""The pytest plugin: the rules of malloc, heaps to test with, and limits of memory, in a project's own tests.

    pip install 'alloclab[pytest]'

*Is this malloc correct?* ``pytest --alloclab-so=./libmine.so`` runs, after the project's own tests, every rule as a
test, ``libmine.so::C12``, and the property search as one, ``libmine.so::search``; what ``-k``, ``--deselect``, ``-n``
and ``--lf`` do to tests they do to these. A must rule that fails is a failed test, whose report is the finding; what
only deviates passes and is told at the end; what does not apply is skipped. The option may be given several times, and
takes whatever ``alloclab check`` does. ``--alloclab-rules=C08,C12``, ``--alloclab-examples=N`` (0: no search) and
``--alloclab-seed=N`` are as there. A failure is shown again by the C program and the trace that it leaves in pytest's
cache folder, or in that of ``--alloclab-files=FOLDER``.

*Tests of one's own*, with a heap of the laboratory, made for the test and validated after it; or with the allocators
that ``--alloclab-so`` names::

    def test_a_hole_is_used_again(heap):            # ptmalloc
        hole = heap.malloc(5000)
        heap.malloc(10)
        heap.free(hole)
        assert heap.malloc(5000) == hole

    @pytest.mark.alloclab_heap("fit:policy=best", "buddy")       # once on each
    def test_nothing_is_lost(heap): ...

    @pytest.mark.alloclab_heap("jemalloc", leaks=False, limit=1 << 20)
    def test_all_is_freed(heap): ...                # fails where blocks live at its end

    def test_sort(allocator):                       # once on each; skipped where there is none
        subprocess.run(["sort", "big.txt"], env={**os.environ, **allocator.environment()}, check=True)

*What a test may need*::

    @pytest.mark.limit_rss("24 MB")                 # more resident at its peak than before it
    @pytest.mark.limit_calls(mmap=10, brk=20)       # system calls for memory; limit_calls(30): of all kinds together
    @pytest.mark.limit_fragmentation(1.3)           # most that is mapped / most that is live
    def test_import_of_the_catalogue(): ...

Such a test runs, with its fixtures, in a process of its own under the recorder, and what it asks of malloc between its
first line and its last is taken out of the recording. ``limit_rss`` is the kernel's figure of that process, right to
some hundred kilobytes. The two others are those of a replay of the test's own calls alone, on an allocator that holds
nothing else, so they repeat, and do not change with what was imported before. By default that is ``ptmalloc``, which
does what the malloc of glibc does; ``allocator="jemalloc"`` names another, on which ``limit_rss`` runs the test itself.
A test that goes over a limit fails with the figure and with what was live at its peak, by size; its trace is kept for
``alloclab compare``. With -v the figures of all are shown, to set limits by.

Python asks malloc for every object there (PYTHONMALLOC=malloc), as its own pools would hide the small ones; and hashes
alike in every run (PYTHONHASHSEED=0). Where either is set already, that stays. Processes that the test starts are not
counted.

The state machine of the search is there to be subclassed for an allocator class of one's own:
:class:`alloclab.check.machine.MallocMachine`.

Nothing is imported, printed or measured before one of these is asked for.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from alloclab.heap import Heap

EXAMPLES = 100
CHILD = "alloclab-child"
"""The plugin that a test's own process has (:mod:`alloclab.pytest_plugin.child`)."""
LIMITS = {
    "limit_rss": 'limit_rss(size, *, allocator=None): at most so much more is resident in the test, as "24 MB"',
    "limit_fragmentation": 'limit_fragmentation(ratio, *, allocator="ptmalloc"): peak mapped by peak live bytes',
    "limit_calls": 'limit_calls(total=None, *, allocator="ptmalloc", brk=, mmap=, ...): system calls for memory',
}
_HEAP = 'alloclab_heap(*specs, leaks=True, **settings): what the fixture "heap" is, in turn where there are several'


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("alloclab", "is this malloc correct?")
    group.addoption(
        "--alloclab-so",
        action="append",
        default=[],
        metavar="LIB.so",
        help="run the rules of malloc on a library, or on a SPEC as `alloclab check` takes it; may be repeated",
    )
    group.addoption("--alloclab-rules", metavar="C08,C12", help="only these rules")
    group.addoption(
        "--alloclab-examples",
        type=_whole(0),
        default=EXAMPLES,
        metavar="N",
        help="examples of the property search; 0: none [%(default)s]",
    )
    group.addoption("--alloclab-seed", type=_whole(0), default=0, metavar="N", help="of the search [%(default)s]")
    group.addoption(
        "--alloclab-seconds",
        type=_whole(1),
        default=60,
        metavar="N",
        help="time that a rule has; longer means that the malloc hangs [%(default)s]",
    )
    group.addoption(
        "--alloclab-files",
        metavar="FOLDER",
        help="where reproducers, and traces of tests over a limit, go [d/alloclab in pytest's cache folder]",
    )


def _whole(least: int) -> object:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} on, not {text!r}")
        return int(text)

    return number


def pytest_configure(config: pytest.Config) -> None:
    for line in (*LIMITS.values(), _HEAP):
        config.addinivalue_line("markers", line)
    if config.option.alloclab_so:
        from alloclab.pytest_plugin.suite import Suite

        config.pluginmanager.register(Suite(config), "alloclab-suite")
    else:
        config.pluginmanager.register(_NoSuite(), "alloclab-suite")


class _NoSuite:
    @pytest.fixture
    def allocator(self) -> None:
        """Each allocator that --alloclab-so names."""
        pytest.skip("no allocator to test: --alloclab-so=LIB.so names one")


# --- heaps ---


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("alloclab_heap")
    if marker is not None and len(marker.args) > 1 and "heap" in metafunc.fixturenames:
        metafunc.parametrize("heap", marker.args, indirect=True)


@pytest.fixture
def heap(request: pytest.FixtureRequest) -> Iterator[Heap]:
    """A fresh heap of the laboratory: ptmalloc, or what ``alloclab_heap`` or an indirect parameter says. It is
    validated after the test, and what was never freed is told with a failure."""
    from alloclab.pytest_plugin.heaps import lent

    marker = request.node.get_closest_marker("alloclab_heap")
    named = marker.args[0] if marker is not None and marker.args else "ptmalloc"
    settings = dict(marker.kwargs) if marker is not None else {}
    yield from lent(request.node, getattr(request, "param", named), **settings)


# --- limits ---


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    limited = [item for item in items if _limited(item)]
    if limited and not config.pluginmanager.has_plugin(CHILD):
        from alloclab.pytest_plugin.limits import check_markers

        check_markers(limited)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if not _limited(item) or item.config.pluginmanager.has_plugin(CHILD):
        return None
    from alloclab.pytest_plugin.limits import run_limited

    run_limited(item, nextitem)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """With -v the figures, to set limits by."""
    if config.option.verbose <= 0:
        return
    groups = [terminalreporter.getreports(outcome) for outcome in ("passed", "failed", "xfailed", "xpassed")]
    told = [
        f"{report.nodeid} {name} {figure}"
        for report in chain(*groups)
        for name, figure in report.user_properties
        if name in LIMITS
    ]
    if told:
        terminalreporter.section("alloclab: what tests with limits needed")
        for line in told:
            terminalreporter.line(line)


def _limited(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) is not None for name in LIMITS)
