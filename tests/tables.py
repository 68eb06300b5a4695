"""The table of real programs and allocators, from pytest's reports of tests/flows/test_programs.py."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

TEST = "test_programs.py::test_every_program["


def cell(report: pytest.TestReport) -> str:
    if report.failed:
        return "FAILED"
    return "missing" if report.skipped else str(dict(report.user_properties)["cell"])


def reason(report: pytest.TestReport) -> str:
    return report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else str(report.longrepr)


def programs_table(reports: Iterable[pytest.TestReport]) -> str:
    """Markdown, with what is not here below it; empty where none of these tests ran."""
    cells: dict[str, dict[str, str]] = {}
    missing = set()
    for report in reports:
        if TEST not in report.nodeid or (report.passed and report.when != "call"):
            continue
        program, _, allocator = report.nodeid.partition("[")[2].rstrip("]").partition("-")
        cells.setdefault(program, {})[allocator] = cell(report)
        if report.skipped:
            missing.add(f"\n{program}: {reason(report)}\n")
    if not cells:
        return ""
    from alloclab.allocators import lab_allocators  # not as pytest starts, when it may not be built

    columns = ["system", *(lab.name for lab in lab_allocators())]
    rows = [["", *columns], *([program, *(row.get(c, "") for c in columns)] for program, row in sorted(cells.items()))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    lines = ("| " + " | ".join(map(str.ljust, row, widths)) + " |\n" for row in rows)
    return "".join([*lines, *sorted(missing)])
