"""Which rules of malloc hold: a table for the terminal, and one of several allocators side by side as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alloclab.check.conformance import (
    DEVIATES,
    FAIL,
    NOT_APPLICABLE,
    PASS,
    RECORDED,
    VERDICTS,
    Check,
    Searched,
)
from alloclab.check.reproduce import told
from alloclab.check.steps import MOST_FAILURES
from alloclab.report.markdown import escaped, row

_STYLE = {FAIL: "bold red", DEVIATES: "yellow", RECORDED: "cyan", NOT_APPLICABLE: "dim", PASS: "green"}
_SHORT = {FAIL: "**fail**", DEVIATES: "deviates", RECORDED: "recorded", NOT_APPLICABLE: "n/a", PASS: "pass"}


def print_check(check: Check, console: Console) -> None:
    """Print rule by rule what was found, and whether all hold."""
    table = Table(title=check.allocator, title_justify="left", title_style="bold cyan", box=box.SIMPLE_HEAD)
    table.show_edge, table.pad_edge = False, False
    table.add_column("rule", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("why", overflow="fold", ratio=3)
    table.add_column("source", overflow="fold", ratio=2)
    for v in check.verdicts:
        lines = [finding.why for finding in v.findings] or [v.rule.title]
        why = Text("\n".join(lines), style="" if v.findings else "dim")
        table.add_row(v.rule.number, Text(v.verdict, style=_STYLE[v.verdict]), why, Text(v.rule.source, style="dim"))
    console.print(table)
    console.print(Text(sentence(check), style="bold red" if check.broken else "bold green"))


def print_start(examples: int, console: Console) -> None:
    """Tell who waits at a terminal what for."""
    if console.is_terminal:
        console.print(Text(f"Searching in {examples:,} examples.", style="dim"))


def print_search(allocator: str, search: Searched, console: Console) -> None:
    """Print what the search found after the rules."""
    for failure in search.failures:
        console.print(Text(told(failure), style="red"), soft_wrap=True)
    style = "bold red" if search.failures else "bold yellow" if search.trouble else "bold green"
    console.print(Text(f"{allocator}: {found(search)}", style=style), soft_wrap=True)


def found(search: Searched) -> str:
    """For example ``the search found nothing in 100 examples of 100 steps, seed 0``."""
    count = len(search.failures)
    if search.trouble and not count:
        return f"the search ended early: {search.trouble}"
    what = f"{count} failure{'s' if count > 1 else ''}" if count else "nothing"
    more = ", and ended early" if search.trouble else ", and looked for no more" if count == MOST_FAILURES else ""
    return (
        f"the search found {what} in {search.examples:,} examples of {search.steps:,} steps, seed {search.seed}{more}"
    )


def sentence(check: Check) -> str:
    """For example ``libmimalloc: 22 pass, 2 deviating; fail: C05, C12``."""
    counted = {verdict: sum(v.verdict == verdict for v in check.verdicts) for verdict in VERDICTS}
    words = {PASS: "pass", DEVIATES: "deviating", RECORDED: "recorded", NOT_APPLICABLE: "not applicable"}
    said = ", ".join(f"{counted[verdict]} {word}" for verdict, word in words.items() if counted[verdict])
    failed = ", ".join(v.rule.number for v in check.verdicts if v.verdict == FAIL)
    return "; ".join(
        filter(None, [f"{check.allocator}: {said}" if said else check.allocator, failed and f"fail: {failed}"])
    )


def markdown(checks: Sequence[Check]) -> str:
    """All allocators in one table, and below it what was seen of each where a rule does not simply hold."""
    lines = [
        row(["rule", "must", "", *(check.allocator for check in checks), "source"]),
        row([":--", ":--", ":--", *(":--" for _ in checks), ":--"]),
    ]
    for verdicts in zip(*(check.verdicts for check in checks), strict=True):
        rule = verdicts[0].rule
        cells = [_SHORT[v.verdict] for v in verdicts]
        lines.append(row([rule.number, "must" if rule.must else "", rule.title, *cells, rule.source]))
    for check in checks:
        lines += ["", f"{check.allocator}:", "", *_seen(check)]
    return "\n".join(lines) + "\n"


def _seen(check: Check) -> Iterator[str]:
    findings = [(v.rule.number, finding) for v in check.verdicts for finding in v.findings]
    for number, finding in findings:
        yield f"- {number} {finding.verdict}: {escaped(finding.why)}"
    for failure in check.failures:
        yield f"- {failure.rule} {FAIL}, found by the search: {escaped(failure.sentence)}"
    if not findings and not check.failures:
        yield "- every rule holds"
    if check.search is not None:
        yield f"- {escaped(found(check.search))}"
