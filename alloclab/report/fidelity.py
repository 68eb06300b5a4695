"""How faithful one allocator is to another, for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alloclab.comparison.choices import Choices
from alloclab.comparison.fidelity import Block, Call, Fidelity, Side, Step
from alloclab.comparison.recorded import Recorded
from alloclab.heap import Fact
from alloclab.replay.places import CALLS, Piece
from alloclab.report.columns import ABSENT


def print_fidelity(found: Fidelity, console: Console) -> None:
    """Print how many operations agree, the first that differs and what led to it, and the totals side by side."""
    one, other = _names(found)
    title = f"{found.trace}: {one} against {other}, {found.operations:,} operations, mode {found.mode}"
    console.print(Text(title, style="bold cyan"))
    console.print(Text(_agreement(found), style="bold green" if found.same else "bold red"))
    if found.first is not None:
        console.print()
        console.print(_steps(found, found.first))
        if found.choices is not None:
            console.print()
            console.print(Text(_verdict(found, found.choices)))
            console.print(_pieces(found, found.choices))
    if found.recorded is None:
        console.print()
        console.print(_totals(found))
    for note in _notes(found):
        console.print(Text(note, style="dim"))


def _names(found: Fidelity) -> tuple[str, str]:
    one, other = (side.allocator for side in found.sides)
    return (one, other) if one != other else (one, f"{other} again")


def _agreement(found: Fidelity) -> str:
    if found.same:
        if found.recorded is not None:
            return "The same: every operation agrees in where its block lies."
        usable = "" if any(side.usable_bytes is None for side in found.sides) else ", its usable size"
        return f"The same: every operation agrees in where its block lies{usable} and its system calls."
    if found.first is None:
        return "Every operation agrees, but not the mapped bytes."
    share = 100 * found.agreeing / found.operations
    calls = "" if found.recorded is not None else f", {found.other_calls:,} in their system calls"
    return (
        f"{found.agreeing:,} operations agree ({share:.4g} %); {found.other_blocks:,} differ in their block{calls}.\n"
        f"First: operation {found.first.operation:,} ({', '.join(found.first.differs)})"
    )


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _steps(found: Fidelity, first: Step) -> Table:
    table = _table("operation", "call", *_names(found))
    for step in (*found.before, first):
        style = "bold red" if step is first else ""
        cells = [_place(block, step) for block in step.blocks]
        table.add_row(f"{step.operation:,}", _words(step), *cells, style=style)
        for a, b in _paired(step.calls):
            table.add_row("", "", a, b, style="red" if step is first else "dim")
    return table


def _words(step: Step) -> str:
    said = f"{step.kind} {step.bytes:,}" + (f" aligned to {step.alignment:,}" if step.alignment else "")
    return said if step.born is None else f"{said}, block of {step.born:,}"


def _place(block: Block, step: Step) -> str:
    if block.offset is None:
        return "" if step.kind in ("free", "realloc_zero") else "NULL"
    sized = "" if block.usable in (None, 0) else f" usable {block.usable:,}"
    return f"{block.mapping} {_signed(block.offset)}{sized}"


def _paired(calls: tuple[tuple[Call, ...], tuple[Call, ...]]) -> list[tuple[str, str]]:
    one, other = ([_said(call) for call in side] for side in calls)
    length = max(len(one), len(other))
    return list(zip(*(side + [""] * (length - len(side)) for side in (one, other)), strict=True))


def _said(call: Call) -> str:
    if call.kind == "brk":
        length = f"{call.bytes:+,}" if call.bytes else "asks"
    else:
        length = f"{call.bytes:,}" if call.new_bytes is None else f"{call.bytes:,} to {call.new_bytes:,}"
    said = [call.kind, length]
    if call.how is not None and (call.kind, call.how) != ("mmap", "rw"):
        said.append(call.how)
    if call.offset is not None:
        said.append(f"at {call.mapping} {_signed(call.offset)}")
    return "  " + " ".join([*said, *(["failed"] if call.failed else [])])


def _signed(offset: int) -> str:
    return f"{'+' if offset >= 0 else '-'}{abs(offset):#x}"


def _looked_into(found: Fidelity, choices: Choices) -> tuple[str, str]:
    """Names: whose heap it is, and the other."""
    one, other = _names(found)
    return (one, other) if choices.allocator == found.sides[0].allocator else (other, one)


def _verdict(found: Fidelity, choices: Choices) -> str:
    """What the other's choice was to the one that can be looked into."""
    mine, theirs = _looked_into(found, choices)
    if choices.other is None:
        return f"Where {theirs} put it, {mine} had nothing yet."
    if not choices.candidate:
        other = f"{choices.other.state}, {choices.other.bytes:,} bytes"
        return f"Where {theirs} put it, {mine} had no free piece that serves it: {other}."
    order = {"own": ", but its own choice goes first", "other": ", which goes first", None: ""}[choices.first]
    return f"Where {theirs} put it, {mine} had a free piece that serves it{order}."


def _pieces(found: Fidelity, choices: Choices) -> Table:
    """What was known of both places, fact by fact."""
    table = _table("before it", *(f"{name}'s place" for name in _looked_into(found, choices)))
    columns = [_known(piece) for piece in (choices.own, choices.other)]
    for name in {**columns[0], **columns[1]}:
        table.add_row(name, *(column.get(name, "") for column in columns))
    return table


def _known(piece: Piece | None) -> dict[str, str]:
    if piece is None:
        return {"piece": "none"}
    facts = {"piece": f"{piece.state}, {piece.bytes:,} bytes at {piece.address:#x}", **piece.facts}
    return {name: _fact(value) for name, value in facts.items()}


def _fact(value: Fact) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if type(value) is int else str(value)


def _totals(found: Fidelity) -> Table:
    table = _table("total", *_names(found))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, cells in _figures(found.sides).items():
        table.add_row(name, *cells, style="" if cells[0] == cells[1] else "red")
    return table


def _figures(sides: tuple[Side, Side]) -> dict[str, list[str]]:
    rows = {kind: [f"{side.calls[kind]:,}" for side in sides] for kind in CALLS}
    rows["failed calls"] = [_number(side.failed_calls) for side in sides]
    rows["mapped bytes before"] = [_number(side.mapped_before) for side in sides]
    rows["peak mapped bytes"] = [_number(side.peak_mapped) for side in sides]
    rows["usable bytes, all blocks"] = [_number(side.usable_bytes) for side in sides]
    return rows


def _number(value: int | None) -> str:
    return ABSENT if value is None else f"{value:,}"


def _notes(found: Fidelity) -> list[str]:
    notes = _notes_on_recording(found.recorded) if found.recorded else _notes_on_sizes(found)
    if found.scattered_from:
        notes.append(
            f"Blocks of {found.scattered_from:,} usable bytes or more begin at a random place within their first "
            "page, so that page was compared."
        )
    if found.random_addresses and not found.same:
        notes.append(
            "Addresses were random, for the kernel let nobody turn that off: an allocator whose choices hang on them, "
            "or that libraries used before the first operation, may differ from itself."
        )
    return notes


def _notes_on_sizes(found: Fidelity) -> list[str]:
    unsized = dict.fromkeys(side.allocator for side in found.sides if side.usable_bytes is None)
    return [f"Usable sizes are not compared: {name} has no malloc_usable_size." for name in unsized]


def _notes_on_recording(recorded: Recorded) -> list[str]:
    notes = []
    if recorded.second_thread is not None:
        notes.append(
            f"{recorded.threads:,} threads were recorded, one replays: what caches and arenas of the others did cannot "
            f"match, from operation {recorded.second_thread:,} on, the first of a second thread."
        )
    if recorded.forked:
        notes.append("The recorded process was forked: what its heap held before is not in the recording.")
    if recorded.lost:
        notes.append(f"The recording lacks {recorded.lost:,} events.")
    return notes
