"""Foreign trace formats written and counted in plain Python, for tests to hold the importers against."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import strategies as st
from rows import Row

from alloclab.trace.model import Op

PAGE = 4096


@dataclass
class Call:
    """What a program does; ``block`` counts births from 0, as objects do."""

    op: Op
    block: int | None
    size: int = 0
    count: int = 1
    align: int = 0
    thread: int = 0
    failed: bool = False


def row_of(call: Call, **changes: object) -> Row:
    row = Row(call.op, call.block, call.size, call.count, call.align, call.thread, None, call.failed)
    return replace(row, **changes)  # type: ignore[arg-type]


@st.composite
def programs(draw: st.DrawFn) -> list[Call]:
    """Births, reallocs and frees of live blocks in any order, by three threads numbered as they appear."""
    calls: list[Call] = []
    live: list[int] = []
    born = 0
    for _ in range(draw(st.integers(1, 40))):
        threads = len({call.thread for call in calls})
        thread = draw(st.integers(0, min(threads, 2)))
        op = draw(st.sampled_from([Op.MALLOC, Op.CALLOC, Op.ALIGNED, Op.REALLOC, Op.FREE]))
        size = draw(st.integers(1, 1 << 20))
        if op in (Op.REALLOC, Op.FREE) and live:
            block = draw(st.sampled_from(live))
            size = 0 if op == Op.FREE else size
            if op == Op.FREE:
                live.remove(block)
            calls.append(Call(op, block, size, thread=thread))
        elif op not in (Op.REALLOC, Op.FREE):
            count = draw(st.integers(1, 9)) if op == Op.CALLOC else 1
            align = 1 << draw(st.integers(4, 12)) if op == Op.ALIGNED else 0
            calls.append(Call(op, born, size, count, align, thread))
            live.append(born)
            born += 1
    return calls


class Names:
    """Addresses as an allocator gives them: those freed last come again, a realloc moves when its size is even."""

    def __init__(self) -> None:
        self.of: dict[int, int] = {}
        self.spare: list[int] = []
        self.next = 0x10

    def birth(self, block: int) -> int:
        if not self.spare:
            self.spare.append(self.next)
            self.next += 0x10
        self.of[block] = self.spare.pop()
        return self.of[block]

    def move(self, call: Call) -> tuple[int, int]:
        assert call.block is not None
        old = self.of[call.block]
        if call.size % 2 == 0:
            self.birth(call.block)
            self.spare.append(old)
        return old, self.of[call.block]

    def death(self, block: int) -> int:
        self.spare.append(self.of[block])
        return self.of.pop(block)


def _named(calls: Iterable[Call]) -> Iterator[tuple[Call, int, int]]:
    """Every call with its block's name after it and before it."""
    names = Names()
    for call in calls:
        assert call.block is not None
        if call.op == Op.REALLOC:
            old, new = names.move(call)
            yield call, new, old
        elif call.op == Op.FREE:
            name = names.death(call.block)
            yield call, name, name
        else:
            yield call, names.birth(call.block), 0


def _lines(calls: list[Call], line: Callable[[Call, int, int], str]) -> bytes:
    return "".join(line(*named) + "\n" for named in _named(calls)).encode()


def _android(c: Call, new: int, old: int) -> str:
    arguments = {
        Op.MALLOC: f"malloc {new:#x} {c.size}",
        Op.CALLOC: f"calloc {new:#x} {c.count} {c.size}",
        Op.ALIGNED: f"memalign {new:#x} {c.align} {c.size}",
        Op.REALLOC: f"realloc {new:#x} {old:#x} {c.size}",
        Op.FREE: f"free {new:#x}",
    }
    return f"{c.thread + 100}: {arguments[c.op]}"


def _ltrace(c: Call, new: int, old: int) -> str:
    arguments = {
        Op.MALLOC: f"malloc({c.size})",
        Op.CALLOC: f"calloc({c.count}, {c.size})",
        Op.ALIGNED: f"memalign({c.align}, {c.size}, 0, 0x77)",
        Op.REALLOC: f"realloc({old:#x}, {c.size})",
        Op.FREE: f"free({new:#x})",
    }
    result = "<void>" if c.op == Op.FREE else f"{new:#x}"
    return f"[pid {c.thread + 100}] program->{arguments[c.op]:40} = {result}"


def _valgrind(c: Call, new: int, old: int) -> str:
    arguments = {
        Op.MALLOC: f"malloc({c.size}) = 0x{new:X}",
        Op.CALLOC: f"calloc({c.count},{c.size}) = 0x{new:X}",
        Op.ALIGNED: f"memalign(al {c.align}, size {c.size}) = 0x{new:X}",
        Op.REALLOC: f"realloc(0x{old:X},{c.size}) = 0x{new:X}",
        Op.FREE: f"free(0x{new:X})",
    }
    return f"--77-- {arguments[c.op]}"


def _mtrace(c: Call, new: int, old: int) -> str:
    who = f"@ ./program:(f+0x1)[{0x400000 + new:#x}] "
    if c.op == Op.FREE:
        return f"{who}- {new:#x}"
    if c.op == Op.REALLOC:
        return f"{who}< {old:#x}\n{who}> {new:#x} {c.size:#x}"
    return f"{who}+ {new:#x} {c.size * c.count:#x}"


def _by_id(c: Call, new: int, old: int) -> str:
    return f"f {c.block}" if c.op == Op.FREE else f"{'r' if c.op == Op.REALLOC else 'a'} {c.block} {c.size * c.count}"


def _wee(c: Call, new: int, old: int) -> str:
    return f"Free({c.block})," if c.op == Op.FREE else f"Alloc({c.size * c.count}),"


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _tracefile(calls: list[Call]) -> bytes:
    out = b""
    for c, new, old in _named(calls):
        new, old = new // 16, old // 16
        fields, number = {
            Op.MALLOC: ({1: new, 2: c.size}, 1),
            Op.ALIGNED: ({1: new, 2: c.size, 3: c.align}, 1),
            Op.FREE: ({1: new, 2: 12345}, 2),
            Op.REALLOC: ({1: new, 2: old, 3: c.size}, 3),
            Op.CALLOC: ({1: new, 2: c.count, 3: c.size}, 4),
        }[c.op]
        line = b"".join(_field(n, value) for n, value in fields.items())
        out += _field(1, _field(number, line))
    return gzip.compress(out + _field(2, 17))


def _big_endian(value: int) -> bytes:
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))


def _workload(calls: list[Call]) -> bytes:
    """One script a thread; a flag after every call makes the next call, in whichever thread, wait for it."""
    threads = max(call.thread for call in calls) + 1
    scripts = [b""] * threads
    for i, (c, new, old) in enumerate(_named(calls)):
        new, old = new // 16, old // 16
        opcode, operands = {
            Op.MALLOC: (2, [new, c.size]),
            Op.CALLOC: (3, [new, c.size * c.count]),
            Op.REALLOC: (4, [new, old, c.size]),
            Op.FREE: (5, [new]),
            Op.ALIGNED: (12, [new, c.align, c.size]),
        }[c.op]
        wait = bytes([7]) + _big_endian(i - 1) if i else b""
        scripts[c.thread] += wait + bytes([opcode]) + b"".join(map(_big_endian, operands)) + bytes([6]) + _big_endian(i)
    pointers = max(new for _, new, _ in _named(calls)) // 16
    head = bytes([8]) + _big_endian(pointers) + bytes([9]) + _big_endian(len(calls)) + bytes([10, threads])
    at = len(head) + 4 * threads + 1  # a START_THREAD takes an opcode and, padded, three digits
    for script in scripts:
        head += bytes([11, at >> 14 & 0x7F | 0x80, at >> 7 & 0x7F | 0x80, at & 0x7F])
        at += len(script) + 1
    return head + bytes([1]) + b"".join(script + bytes([1]) for script in scripts)


def _plain(call: Call) -> Row:
    """What a format of mallocs only can say."""
    op = Op.MALLOC if call.op in (Op.CALLOC, Op.ALIGNED) else call.op
    return row_of(call, op=op, size=call.size * call.count, count=1, align=0, thread=0)


def _in_bytes(call: Call) -> Row:
    return row_of(call, size=1, count=call.size * call.count) if call.op == Op.CALLOC else row_of(call)


def _one_thread(call: Call) -> Row:
    return row_of(call, thread=0)


# By format: how a program is written, and the row that comes back of a call.
WRITERS: dict[str, tuple[Callable[[list[Call]], bytes], Callable[[Call], Row]]] = {
    "android": (lambda calls: _lines(calls, _android), row_of),
    "ltrace": (lambda calls: _lines(calls, _ltrace), row_of),
    "valgrind": (lambda calls: _lines(calls, _valgrind), _one_thread),
    "mtrace": (lambda calls: b"= Start\n" + _lines(calls, _mtrace), _plain),
    "script": (lambda calls: _lines(calls, _by_id), _plain),
    "rep": (lambda calls: b"1\n2\n3\n4\n" + _lines(calls, _by_id), _plain),
    "wee_alloc": (lambda calls: _lines(calls, _wee), _plain),
    "malloc_bench": (_tracefile, _one_thread),
    "workload": (_workload, _in_bytes),
}
CANNOT_REALLOC = {"wee_alloc"}


@dataclass
class Count:
    """A file counted line by line: events by their word in the file, and bytes and blocks live."""

    words: Counter[str]
    live: dict[str, int]
    peak: int


def count_naively(path: Path) -> Count | None:
    """Counts an Android, wee_alloc or CS107 file; None for any other."""
    data = path.read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            (name,) = archive.namelist()
            data = archive.read(name)
    count = Count(Counter(), {}, 0)
    total = allocs = 0
    for line in data.decode().splitlines():
        words = [word for word in re.split(r"[\s:(),]+", line) if word]
        if not words or words[0].startswith("#"):
            continue
        if path.suffix == ".script":
            op, name, size = words[0], words[1], int(words[2]) if len(words) > 2 else 0
            old = name
        elif path.suffix == ".trace":
            op, size = words[0], int(words[1])
            name = old = str(allocs) if op == "Alloc" else words[1]
            allocs += op == "Alloc"
        elif re.match(r"\d+: \w+ 0x", line):
            op, name, numbers = words[1], words[2], words[3:]
            old = numbers[0] if op == "realloc" else name
            sizes = {"malloc": 0, "realloc": 1, "memalign": 1}
            size = (
                int(numbers[0]) * int(numbers[1]) if op == "calloc" else int(numbers[sizes[op]]) if op in sizes else 0
            )
        else:
            return None
        count.words[op] += 1
        total -= count.live.pop(old, 0) if op in ("r", "realloc", "f", "free", "Free") else 0
        if op not in ("f", "free", "Free", "thread_done") and not (op in ("r", "realloc") and size == 0):
            assert name not in count.live
            count.live[name] = size
            total += size
        count.peak = max(count.peak, total)
    return count
