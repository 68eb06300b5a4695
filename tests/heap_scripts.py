"""Checks of a malloc written as scripts, with what each statement must yield beside it.

    == the second is the first             a check begins; {NAME=VALUE ...} after its title: the program's environment
    a = malloc 24        -> brk+0x2a0/24   a block lies in the region "brk", at that offset; 24 bytes of it are usable
    free a
    b = malloc 24        -> a              the same place again
    c = malloc 200000    -> map1 | mmap 204800
    x0..3 = malloc 40    -> a+0x100        four statements; what is said is the last one's
    p0..3 = malloc 9; q0..3 = malloc 99    eight, in turn
    free x3..0           -> . . . -        as many results as statements: a dot is not compared
    x0..9 = malloc 40    -> step 48        each lies 48 after the one before
    info fsmblks         -> 144            figures of mallinfo2, by name
    control stats.allocated stats.arenas.0.pactive .pdirty   -> 16 1 0      figures by the malloc's own names for them
    change .pdirty       -> +5             since they were last asked for; a name may stand for the last one's like
    control thread.tcache.enabled = 0      sets one
    do arena.0.purge                       does what has that name
    pass 1500                              milliseconds, at once: the clock that the malloc sees stands still otherwise
    await stats.arenas.0.pdirty 0 500      until the figure is 0, for whatever works in the background; with every look
                                           so many milliseconds more have passed
    churn 1000 40000                       allocates and frees a block of 40000 bytes, a thousand times
    2: d = malloc 10                       by thread 2, which `start 2` has started
    free d+8             -> aborts free(): invalid pointer

Regions are named as they are first seen: brk, the heap that grows with the program break; mapN, a mapping; heapN, a
heap of another arena than the main one (64 MiB aligned); elsewhere. Behind ``|`` stand the system calls for memory, or
``none``; where it is left out they are not compared; ``!`` marks one that failed.
A block that begins at a random place in its first page (``Kind``) lies where that page begins.
NULL is ``null``, perhaps with errno. Numbers may be computed: ``{8*40}``.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from programs import HERE, compile_c

from alloclab.allocators import Allocator

HEAP_BYTES = 64 << 20
CALLS = ("brk", "mmap", "munmap", "mremap", "madvise", "mprotect")
MAKERS = ("malloc", "calloc", "realloc", "memalign", "aligned_alloc", "posix_memalign", "valloc", "pvalloc")
FIGURES = ("control", "change", "do")
INFO = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "fsmblks", "uordblks", "fordblks", "keepcost")

NON_MAIN_ARENA, IS_MMAPPED = 4, 2
PAGE = 4096

HANGS_S = 120
"""What takes longer will never end."""

WEIGHT = "libweight.so"
"""What libc allocates for a new thread depends on how many libraries have thread-local data. A drop-in is one more."""

_RANGE = re.compile(r"\b([a-z]\w*?)(\d+)\.\.(\d+)\b")
_NAME = re.compile(r"^([a-z]\w*)([+-]\w+)?$")
_SYSCALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (0x[0-9a-f]+|-?\d+)")
_UNFINISHED = re.compile(r"^(\d+ +\w+\(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")


@dataclass(frozen=True)
class Line:
    """A line of a check: statements that the program can run, and what was expected of them."""

    text: str
    number: int
    statements: tuple[tuple[str, ...], ...]
    expected: str | None
    calls: str | None


@dataclass(frozen=True)
class Kind:
    """What blocks are like: whether a head with ptmalloc's flags stands before them, and from which usable size on they
    begin anywhere in their first page (0: never). A heap that grows with the break begins at a multiple of `grain`."""

    heads: bool = False
    scattered_from: int = 0
    grain: int = 1


PTMALLOC, JEMALLOC, TCMALLOC = Kind(heads=True), Kind(scattered_from=16384), Kind(grain=8192)


@dataclass
class Check:
    title: str
    source: str
    kind: Kind
    environment: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)


_Call = tuple[str, list[str], int]
"""Name, arguments, result."""


@dataclass
class Ran:
    """What a program did: per statement its results and its system calls; and how it ended."""

    results: list[list[int]]
    calls: list[list[_Call]]
    begun: list[_Call]  # before the first statement
    first_break: int
    status: int
    said: str


# --- reading ---


def compile_program(folder: Path) -> Path:
    """The program, and beside it a library that weighs in a thread's own memory what a drop-in does."""
    weight = ["-shared", "-fPIC", "-x", "c", "-", "-o", folder / WEIGHT]
    subprocess.run(["gcc", *weight], input=b"__thread void *a_module_with_thread_local_data;", check=True)
    return compile_c(HERE / "heap_script.c", folder / "heap_script")


def read_checks(path: Path, kind: Kind) -> list[Check]:
    return parse_checks(path.read_text(), kind, path.name)


def parse_checks(text: str, kind: Kind, source: str = "") -> list[Check]:
    checks: list[Check] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#")[0].rstrip()
        if line.startswith("=="):
            title, _, variables = line[2:].strip().partition(" {")
            pairs = (word.partition("=") for word in variables.rstrip("}").split())
            checks.append(Check(title, source, kind, {name: value for name, _, value in pairs}))
        elif line:
            checks[-1].lines.append(_parse_line(line, number))
    return checks


def find(checks: Sequence[Check], name: str) -> Check:
    """The one whose title begins so."""
    (check,) = [check for check in checks if check.title.startswith(name)]
    return check


def _parse_line(line: str, number: int) -> Line:
    line = re.sub(r"\{([\d*+ -]+)\}", lambda m: str(eval(m[1])), line)
    rest, bar, calls = line.partition(" | ")
    text, arrow, expected = rest.partition(" -> ")
    return Line(
        line,
        number,
        tuple(tuple(s.split()) for group in _each(text) for s in group.split(";")),
        " ".join(expected.split()) if arrow else None,
        " ".join(calls.split()) if bar else None,
    )


def _each(text: str) -> Iterator[str]:
    """``free x0..2`` is three statements; what stands between semicolons is done in turn."""
    ranges = [(m[1], int(m[2]), int(m[3])) for m in _RANGE.finditer(text)]
    count = max((abs(last - first) + 1 for _, first, last in ranges), default=1)
    for i in range(count):
        yield _RANGE.sub(lambda m: f"{m[1]}{_ith(int(m[2]), int(m[3]), i)}", text)  # noqa: B023


def _ith(first: int, last: int, i: int) -> int:
    return first + i if last >= first else first - i


# --- running ---


class _Names:
    """Of figures, in full."""

    def __init__(self) -> None:
        self.last = ""

    def of(self, words: Sequence[str]) -> list[str]:
        return [self._full(word) for word in words[1 : words.index("=") if "=" in words else None]]

    def _full(self, word: str) -> str:
        self.last = self.last.rpartition(".")[0] + word if word.startswith(".") else word
        return self.last


class _Slots:
    """Names of blocks, and the numbers by which the program knows them."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self.names = _Names()

    def _word(self, word: str) -> str:
        name = _NAME.match(word)
        if name is None or word == "null":
            return "0" if word == "null" else word
        return f"${self.of[name[1]]}{name[2] or ''}"

    def translate(self, words: Sequence[str]) -> str:
        thread = f"@{words[0][:-1]} " if words[0].endswith(":") else ""
        words = words[1:] if thread else words
        if len(words) > 1 and words[1] == "=":
            operands = [self._word(w) for w in words[3:]]
            slot = self.of.setdefault(words[0], len(self.of))
            return f"{thread}{words[2]} {slot} {' '.join(operands)}"
        if words[0] == "info":
            return f"{thread}info"
        if words[0] in FIGURES:
            return thread + self._figures(words)
        return f"{thread}{words[0]} {' '.join(self._word(w) for w in words[1:])}"

    def _figures(self, words: Sequence[str]) -> str:
        names = self.names.of(words)
        if words[0] == "do" or "=" in words:
            return f"adjust {names[0]} {words[-1] if '=' in words else 0}"
        return f"control {' '.join(names)}"


def as_program_reads(statements: Iterable[Sequence[str]]) -> str:
    """With numbers for names."""
    slots = _Slots()
    return "".join(slots.translate(words) + "\n" for words in statements)


def operation_of(words: Sequence[str]) -> str:
    words = words[1:] if words[0].endswith(":") else words
    return words[2] if len(words) > 1 and words[1] == "=" else words[0]


def run(check: Check, program: Path, folder: Path, variables: Mapping[str, str]) -> Ran:
    """The check's statements under strace, with these variables beside the check's own."""
    variables = {"LD_PRELOAD": str(program.parent / WEIGHT)} | dict(variables)
    script = as_program_reads(s for line in check.lines for s in line.statements)
    log = folder / "strace.log"
    settings = [word for name, value in (check.environment | variables).items() for word in ("-E", f"{name}={value}")]
    trace = ["strace", "-f", "-s", "0", "-e", f"trace=write,{','.join(CALLS)}", "-o", str(log)]
    done = subprocess.run(
        [*trace, *settings, str(program), *(["heads"] if check.kind.heads else [])],
        input=script,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )
    steps, first_break = _steps(log.read_text())
    results = [[int(word) for word in row.split()] for row in done.stdout.split("\n")[1:-1]]
    return Ran(results, steps[1:], steps[0], first_break, done.returncode, done.stderr.strip())


def each(checks: Sequence[Check]) -> list[Any]:
    """As values of a parameter; what takes long is left to the whole run."""
    named = ((check, f"{check.source.removesuffix('.txt')}: {check.title}") for check in checks)
    return [pytest.param(c, id=name, marks=[pytest.mark.slow] if _takes_long(c) else []) for c, name in named]


def _takes_long(check: Check) -> bool:
    """Also one that waits."""
    words = [statement for line in check.lines for statement in line.statements]
    return len(words) > 2000 or any(operation_of(statement) == "await" for statement in words)


def _whole_lines(log: str) -> Iterator[str]:
    """A call during which strace had to tell of another thread (its end, say) stands in two lines."""
    begun: dict[str, str] = {}
    for line in log.splitlines():
        if unfinished := _UNFINISHED.match(line):
            begun[line.split()[0]] = unfinished[1]
        elif resumed := _RESUMED.match(line):
            yield begun.pop(resumed[1]) + resumed[2]
        else:
            yield line


def _steps(log: str) -> tuple[list[list[_Call]], int]:
    """Calls between one line written and the next, and the first break."""
    steps: list[list[_Call]] = [[]]
    first_break = 0
    for line in _whole_lines(log):
        found = _SYSCALL.match(line)
        if found is None:
            continue
        name, arguments, result = found[1], found[2].split(", "), int(found[3], 0)
        if name == "write":
            if arguments[0] == "1":
                steps.append([])
        else:
            steps[-1].append((name, arguments, result))
            first_break = first_break or result if name == "brk" else first_break
    return steps, first_break


# --- telling ---

_Place = tuple[str, int]
"""A region's name, and an offset in it."""


class _Space:
    """The address space as the calls shape it, and names for its regions."""

    def __init__(self, kind: Kind, first_break: int) -> None:
        self.kind = kind
        self.program_break = first_break
        self.first_break = -(-first_break // kind.grain) * kind.grain
        self.mappings: list[tuple[int, int, int]] = []  # start, end, and the number of the mapping, in order of birth
        self.born = 0
        self.names: dict[tuple[str, int], str] = {}
        self.figure_names = _Names()
        self.figures: dict[str, int] = {}

    def told(self, name: str, arguments: list[str], result: int) -> str:
        """The call in short, done to the space."""
        failed = "!" if result < 0 else ""
        if name == "brk" and arguments[0] == "NULL":
            return "brk"
        if name == "brk":
            asked = int(arguments[0], 0)
            moved, self.program_break = asked - self.program_break, result
            return f"brk {moved:+d}{'' if result == asked else '!'}"
        length = int(arguments[1])
        start = int(arguments[0], 0) if arguments[0] != "NULL" else 0
        if name == "mmap" and not failed:
            self.born += 1
            self._cut(result, result + length)
            self.mappings.append((result, result + length, self.born))
        if name == "munmap":
            self._cut(start, start + length)
        if name == "mremap" and not failed:
            number = self._number(start)
            self._cut(start, start + length)
            self.mappings.append((result, result + int(arguments[2]), number))
            return f"mremap {length} {arguments[2]}"
        words = {"madvise": " ".join(arguments[2:3])}.get(name, "")
        return " ".join(filter(None, [name, str(length), words.removeprefix("MADV_").lower()])) + failed

    def _cut(self, start: int, end: int) -> None:
        kept = []
        for low, high, number in self.mappings:
            if high <= start or end <= low:
                kept.append((low, high, number))
                continue
            kept += [(low, start, number)] * (low < start) + [(end, high, number)] * (end < high)
        self.mappings = kept

    def block(self, address: int, usable: int, header: int) -> _Place:
        scattered = 0 < self.kind.scattered_from <= usable
        return self.place(address // PAGE * PAGE if scattered else address, header)

    def place(self, address: int, header: int) -> _Place:
        if header & NON_MAIN_ARENA and not header & IS_MMAPPED:
            start = address // HEAP_BYTES * HEAP_BYTES
            return self._name("heap", self._number(start)), address - start
        if self.first_break <= address < self.program_break:
            return "brk", address - self.first_break
        for low, high, number in self.mappings:
            if low <= address < high:
                return self._name("map", number), address - low
        return "elsewhere", 0

    def _number(self, address: int) -> int:
        return next((number for low, high, number in self.mappings if low <= address < high), 0)

    def _name(self, kind: str, number: int) -> str:
        known = sum(name[0] == kind for name in self.names)
        return self.names.setdefault((kind, number), f"{kind}{known + 1}")


def transcript(check: Check, ran: Ran) -> tuple[list[str], list[str]]:
    """The check's lines as they should read, and as they read with what was seen; equal where the two agree."""
    space, known = _Space(check.kind, ran.first_break), dict[str, _Place]()
    _told(ran.begun, space)
    should, does = [], []
    at = 0
    for line in check.lines:
        seen, calls, places = [], [], dict[str, _Place]()
        for words in line.statements:
            calls += _told(ran.calls[at], space) if at < len(ran.calls) else []
            seen.append(_seen(words, ran, at, space, places))
            at += 1
        for lines, text in zip((should, does), _compared(line, seen, calls, known), strict=True):
            lines.append(text)
        known |= places
        if at > len(ran.results):
            does[-1] += "" if line.expected else f" {seen[-1]}"
            should += [line.text for line in check.lines[len(should) :]]
            break
    return should, does


def compare(check: Check, program: Path, folder: Path, allocator: Allocator) -> tuple[list[str], list[str]]:
    """The transcript of a run on the allocator."""
    return transcript(check, run(check, program, folder, allocator.environment()))


def account(check: Check, ran: Ran) -> list[str]:
    """Every statement with all that came of it, whatever was expected."""
    everything = [replace(line, expected=" ".join("?" * len(line.statements)), calls="?") for line in check.lines]
    return transcript(replace(check, lines=everything), ran)[1]


def accounts(text: str, kind: Kind, program: Path, folder: Path, *allocators: Allocator) -> list[list[str]]:
    """Of the one check that is written there, on each allocator; the first one's came to its end."""
    (check,) = parse_checks(text, kind)
    found = [account(check, run(check, program, folder, allocator.environment())) for allocator in allocators]
    assert len(found[0]) == len(check.lines) and not re.search("aborts |ends with ", found[0][-1])
    return found


def _told(calls: Sequence[_Call], space: _Space) -> list[str]:
    """In short; what is unmapped at once in several pieces is told in one."""
    told = [space.told(*call) for call in calls]
    for i in reversed(range(1, len(told))):
        pieces = [text.split() for text in told[i - 1 : i + 1]]
        if [piece[0] for piece in pieces] == ["munmap", "munmap"]:
            told[i - 1 : i + 1] = [f"munmap {int(pieces[0][1]) + int(pieces[1][1])}"]
    return told


def _seen(words: Sequence[str], ran: Ran, at: int, space: _Space, places: dict[str, _Place]) -> str:
    """What a statement yielded, in words; a block's place is written down under its name."""
    if at >= len(ran.results):
        return f"aborts {ran.said}" if ran.status == -6 else f"ends with {ran.status} {ran.said}"
    operation, result = operation_of(words), ran.results[at]
    if operation in MAKERS:
        address, usable, header, error = result
        if address == 0:
            return f"null {errno.errorcode.get(error, error)}"
        places[words[words.index("=") - 1]] = place = space.block(address, usable, header)
        return f"{_text(place)}/{usable}"
    if operation == "set":
        places[words[words.index("=") - 1]] = place = space.place(result[0], 0)
        return _text(place)
    if operation == "info":
        return " ".join(str(result[INFO.index(name)]) for name in words[words.index("info") + 1 :])
    if operation in FIGURES:
        return " ".join(_figures(words, result, space))
    if operation in ("link", "sbrk"):
        return _text(space.place(result[0], 0)) if result[0] else "null"
    if operation == "peek":
        return hex(result[0])
    return " ".join(str(n) for n in result)


def _figures(words: Sequence[str], result: Sequence[int], space: _Space) -> Iterator[str]:
    words = words[1:] if words[0].endswith(":") else words
    names = space.figure_names.of(words)
    if words[0] == "do" or "=" in words:
        yield from (errno.errorcode[error] for error in result if error)
        return
    for name, error, value in zip(names, result[::2], result[1::2], strict=True):
        value = value - 2**64 if value >= 2**63 else value
        before = space.figures.get(name, 0)
        space.figures[name] = value
        yield errno.errorcode[error] if error else f"{value - before:+d}" if words[0] == "change" else str(value)


def _text(place: _Place) -> str:
    return f"{place[0]}+{place[1]:#x}"


def _compared(line: Line, seen: list[str], calls: list[str], known: Mapping[str, _Place]) -> tuple[str, str]:
    statement = line.text.partition(" -> ")[0].partition(" | ")[0].rstrip()
    should = does = statement
    if line.expected is not None:
        several, seen = _paired(line.expected, seen)
        found = [word if _agrees(word, what, known) else what for word, what in zip(several, seen, strict=True)]
        should, does = f"{should} -> {' '.join(several)}", f"{does} -> {' '.join(found)}"
    if line.calls is not None:
        should, does = f"{should} | {line.calls}", f"{does} | {', '.join(calls) or 'none'}"
    return should, does


def _paired(expected: str, seen: list[str]) -> tuple[list[str], list[str]]:
    """What was expected beside what was seen of it: by statements; or of the last one, word by word."""
    words = expected.split()
    if words[:1] == ["step"]:
        return [expected], [_step(seen)]
    if len(seen) > 1 and len(words) > 1:
        return words, seen
    last = seen[-1].split()
    return (words, last) if len(words) == len(last) else ([expected], [seen[-1]])


def _step(seen: list[str]) -> str:
    """The distance from each place to the next, where it is one; otherwise all places."""
    places = [place.partition("/")[0].partition("+") for place in seen]
    steps = {int(b[2], 0) - int(a[2], 0) for a, b in pairwise(places)}
    return (
        f"step {steps.pop()}" if len(steps) == 1 and len({region for region, _, _ in places}) == 1 else " ".join(seen)
    )


def _agrees(expected: str, seen: str, known: Mapping[str, _Place]) -> bool:
    """A place may be given by the name of a block that lies there, and without offset or usable size."""
    if expected in (".", seen) or (expected == "null" and seen.startswith("null ")):
        return True
    place, _, usable = expected.partition("/")
    seen_place, _, seen_usable = seen.partition("/")
    if usable and usable != seen_usable:
        return False
    if place == ".":
        return True
    name = _NAME.match(place)
    if name is not None and name[1] in known:
        region, offset = known[name[1]]
        return seen_place == _text((region, offset + int(name[2] or "0", 0)))
    return seen_place == place or ("+" not in place and seen_place.startswith(f"{place}+"))
