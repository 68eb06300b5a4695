"""Which rules of malloc hold: a table for the terminal, and one of several allocators side by side as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alloclab.check.conformance import DEVIATES, FAIL, NOT_APPLICABLE, PASS, RECORDED, VERDICTS, Check, Verdict
from alloclab.check.reproduce import told
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
    if check.failures == ():
        console.print(Text(f"{check.allocator}: the search found nothing in {check.examples} examples", "bold green"))
    for failure in check.failures or ():
        console.print(Text(told(failure), style="red"), soft_wrap=True)


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
        lines += ["", f"{check.allocator}:", "", *_seen(check.verdicts)]
    return "\n".join(lines) + "\n"


def _seen(verdicts: Sequence[Verdict]) -> Iterator[str]:
    seen = False
    for v in verdicts:
        for finding in v.findings:
            seen = True
            yield f"- {v.rule.number} {finding.verdict}: {escaped(finding.why)}"
    if not seen:
        yield "- every rule holds"
