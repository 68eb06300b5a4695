"""The table of real programs and allocators, from pytest's reports of tests/flows/test_programs.py."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

TEST = "test_programs.py::test_every_program["


def cell(report: pytest.TestReport) -> str:
    if report.failed:
        return "FAILED"
    if report.skipped and isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ").replace("not here", "missing")
    return str(dict(report.user_properties).get("cell", ""))


def programs_table(reports: Iterable[pytest.TestReport]) -> str:
    """Markdown; empty where none of these tests ran."""
    cells: dict[str, dict[str, str]] = {}
    for report in reports:
        if TEST in report.nodeid and (report.when == "call" or not report.passed):
            program, _, allocator = report.nodeid.partition("[")[2].rstrip("]").partition("-")
            cells.setdefault(program, {})[allocator] = cell(report)
    if not cells:
        return ""
    columns = list(max(cells.values(), key=len))
    rows = [["", *columns], *([program, *(row.get(c, "") for c in columns)] for program, row in cells.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "".join("| " + " | ".join(map(str.ljust, row, widths)) + " |\n" for row in rows)
