"""A failure, told so that others can see it: a sentence with its steps, a C program, a trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from alloclab.check.steps import RESIZES, Failure, Fault, Step
from alloclab.check.subject import UNTOUCHED
from alloclab.files import write_whole
from alloclab.trace.model import Events, Metadata, Op
from alloclab.trace.parquet import TraceWriter

PAGE = 4096
SECONDS = 20


def told(failure: Failure) -> str:
    """The rule, what was seen, and the steps, one a line."""
    steps = [f"  {i}. {step}" for i, step in enumerate(failure.steps, 1)]
    return "\n".join([f"{failure.rule}: {failure.sentence}", *steps])


def write(failure: Failure, folder: Path, name: str) -> list[Path]:
    """Writes ``name``.txt, and .c and .parquet where it can be told so; returns their paths."""
    written = [folder / f"{name}.txt"]
    write_whole(written[0], f"{told(failure)}\n".encode())
    if (program := c_program(failure)) is not None:
        written.append(folder / f"{name}.c")
        write_whole(written[-1], program.encode())
    if (events := trace_events(failure)) is not None:
        written.append(folder / f"{name}.parquet")
        with TraceWriter(written[-1], Metadata(source="check", program=f"{failure.rule}: {failure.sentence}")) as trace:
            trace.write(events)
    return written


# --- a trace ---

_Row = tuple[Op, int, int, int, int, int, bool]  # op, thread, object, size, count, align, failed


def trace_events(failure: Failure) -> Events | None:
    """What a replay of it does; None where it is more than a trace can say: a trim, a system call that fails."""
    if any(step.name == "trim" or step.fails for step in failure.steps):
        return None
    rows = list(_rows(failure.steps))
    if not rows:
        return None
    op, thread, block, size, count, align, failed = zip(*rows, strict=True)
    return Events(
        op=np.array(op, np.uint8),
        thread=np.array(thread, np.uint32),
        object=np.array(block, np.int64),
        size=np.array(size, np.uint64),
        count=np.array(count, np.uint64),
        align=np.array(align, np.uint64),
        time_ns=np.full(len(rows), -1, np.int64),
        failed=np.array(failed, np.bool_),
    )


def _rows(steps: tuple[Step, ...]) -> Iterator[_Row]:
    """The last step is there as if it had succeeded, where it is not known to have failed."""
    objects: dict[int, int] = {}  # block -> object
    threads: dict[int, int] = {}  # those that live -> their numbers in the trace
    begun = born = 0
    for at, step in enumerate(steps):
        if step.name == "usable_size" or (step.name == "thread_exit" and step.thread not in threads):
            continue
        if step.thread not in threads:
            threads[step.thread] = begun
            begun += 1
        thread = threads[step.thread]
        if step.name == "thread_exit":
            del threads[step.thread]
            yield Op.THREAD_EXIT, thread, -1, 0, 1, 0, False
            continue
        op, size, count, align = _asked(step)
        total = size * count
        failed = op != Op.FREE and step.result is None and total != 0 and (at < len(steps) - 1 or total >= 1 << 63)
        gone = step.block is None and op == Op.FREE
        if gone or (total == 0 and step.result is None and step.block is None):
            continue  # NULL, which may be what no bytes are
        size, count = min(size, (1 << 64) - 1), min(count, (1 << 64) - 1)
        if step.block is not None:
            block = objects[step.block]
            if step.result is not None:
                objects[step.result] = block
        elif failed:
            block = -1
        else:
            block, born = born, born + 1
            if step.result is not None:
                objects[step.result] = block
        yield op, thread, block, size, count, align, failed


def _asked(step: Step) -> tuple[Op, int, int, int]:
    """Operation, size, count and alignment."""
    numbers = step.numbers
    match step.name:
        case "malloc":
            return Op.MALLOC, numbers[0], 1, 0
        case "calloc":
            return Op.CALLOC, numbers[1], numbers[0], 0
        case "memalign" | "aligned_alloc" | "posix_memalign":
            return Op.ALIGNED, numbers[1], 1, numbers[0]
        case "valloc":
            return Op.ALIGNED, numbers[0], 1, PAGE
        case "pvalloc":
            return Op.ALIGNED, min(-(-numbers[0] // PAGE) * PAGE, (1 << 64) - 1), 1, PAGE
        case "realloc":
            return Op.REALLOC, numbers[0], 1, 0
        case "reallocarray":
            return Op.REALLOC, min(numbers[0] * numbers[1], (1 << 64) - 1), 1, 0
        case _:
            return Op.FREE, 0, 1, 0


# --- a C program ---

_FILLED = ("contents", "zero", "overlap", "crash", "hang")
_HEAD = """/* {sentence}
 *
 * {how} */
#define _GNU_SOURCE
{includes}

static const char seen[] = {said};

static void fault(void) {{ _exit(write(STDOUT_FILENO, seen, sizeof seen - 1) != 0); }}
"""
_OPAQUE = """
/* What a compiler need not know. */
static size_t opaque(size_t n) {
    volatile size_t unknown = n;
    return unknown;
}
"""
_PATTERN = """
static char pattern(size_t at, unsigned key) { return (char)(at * 37 + (at >> 8) + key * 101 + 1); }
"""
_FILL = """
static void fill(char *block, unsigned key) {
    for (size_t at = 0; at < malloc_usable_size(block); at++) block[at] = pattern(at, key);
}
"""
_KEPT = """
static void must_be(const char *block, size_t bytes, unsigned key) {
    for (size_t at = 0; at < bytes; at++)
        if (block[at] != pattern(at, key)) fault();
}
"""
_ZERO = """
static void must_be_zero(const char *block, size_t bytes) {
    for (size_t at = 0; at < bytes; at++)
        if (block[at] != 0) fault();
}
"""
_TURNS = """
static _Atomic int now;

/* Steps are taken in their order, whichever thread takes them. */
static void turn(int step) {
    while (now != step) sched_yield();
}
"""
_LIMIT = """
/* The system gives no memory while it holds. */
static void refuse(int yes) {
    static struct rlimit usual;
    if (yes) getrlimit(RLIMIT_AS, &usual);
    struct rlimit none = {0, usual.rlim_max};
    setrlimit(RLIMIT_AS, yes ? &none : &usual);
}
"""
_MAIN = """
int main(void) {
    steps();
    return 0;
}
"""
_MAIN_APART = """
int main(void) {
    int status;
    if (fork() == 0) {
        alarm(SECONDS);
        steps();
        exit(0);
    }
    if (wait(&status) < 0 || status != 0) fault();
    return 0;
}
""".replace("SECONDS", str(SECONDS))


def c_program(failure: Failure) -> str | None:
    """Compiles alone; its exit status is 1, and the sentence on standard output, where the malloc that it runs on has
    the fault, otherwise 0. None for what only a heap that can be looked into shows."""
    kind = failure.fault.kind
    if kind == "inside":
        return None
    bodies = "".join(_bodies(failure))
    helpers = {
        _OPAQUE: ("opaque(",),
        _PATTERN: ("fill(", "must_be("),
        _FILL: ("fill(",),
        _KEPT: ("must_be(",),
        _ZERO: ("must_be_zero(",),
        _LIMIT: ("refuse(",),
        _TURNS: ("turn(",),
    }
    used = [helper for helper, names in helpers.items() if any(name in bodies for name in names)]
    text = "".join([*used, _blocks(failure), bodies])
    text += _MAIN_APART if failure.fault.deadly else _MAIN
    said = f"{failure.rule}: {failure.sentence}".replace("*/", "* /").replace("\n", " ")
    head = _HEAD.format(
        sentence=said,
        how="gcc -Wall -Wextra -Werror -pthread THIS.c && LD_PRELOAD=THE-LIBRARY ./a.out",
        includes="\n".join(f"#include <{name}.h>" for name in _includes(text)),
        said=_literal(said + "\n"),
    )
    return head + text


def _includes(text: str) -> list[str]:
    needs = {
        "errno": "errno",
        "malloc": "mem",
        "pthread": "pthread_",
        "sched": "sched_yield",
        "stdint": "UINTPTR",
        "stdlib": "",
        "sys/resource": "rlimit",
        "sys/wait": "wait(",
        "unistd": "",
    }
    return [name for name, word in needs.items() if word in text or name == "malloc"]


def _literal(text: str) -> str:
    """As C has it, in plain characters."""
    plain = text.encode("ascii", "replace").decode()
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("??", "?\\?")
    return '"' + "".join(c if c.isprintable() else "?" for c in escaped) + '"'


def _blocks(failure: Failure) -> str:
    born = [f"*b{step.result}" for step in failure.steps if step.result is not None]
    return f"\nvoid *got{''.join(f', {name}' for name in born)};\nint error;\n"


def _number(value: int) -> str:
    return str(value) if value < 1 << 31 else f"opaque({value}u)"


def _call(step: Step) -> str:
    """The call as an expression, its result in ``got`` where it has one; posix_memalign's in ``got`` and ``error``."""
    numbers = [_number(n) for n in step.numbers]
    block = "NULL" if step.block is None else f"b{step.block}"
    match step.name:
        case "posix_memalign":
            return f"got = (void *){UNTOUCHED:#x}; error = posix_memalign(&got, {', '.join(numbers)});"
        case "usable_size":
            return f"got = (void *)malloc_usable_size({block});"
        case "trim":
            return f"malloc_trim({numbers[0]});"
        case "free" | "free_sized" | "free_aligned_sized":
            return f"free({block});"
        case name if name in RESIZES:
            return f"got = {name}({', '.join([block, *numbers])});"
        case name:
            return f"got = {name}({', '.join(numbers)});"


def _lines(step: Step, last: bool, fault: Fault) -> Iterator[str]:
    if last and fault.kind == "kept":
        yield "errno = -1;"
    if last and fault.kind == "errno":
        yield "errno = 0;"
    yield f"refuse(1); {_call(step)} refuse(0);" if step.fails else _call(step)
    if step.result is not None:
        yield f"b{step.result} = got;"
    if last:
        yield from _looks(step, fault)
    elif step.result is not None:
        yield f"if (b{step.result} == NULL) exit(0);  /* it fails earlier here */"
    if step.result is not None and fault.kind in _FILLED and not (last and not fault.deadly):
        yield f"fill(b{step.result}, {step.result});"


def _looks(step: Step, fault: Fault) -> Iterator[str]:
    block, other = f"b{fault.block}", f"b{fault.other}"
    posix = step.name == "posix_memalign"
    match fault.kind:
        case "aligned":
            yield f"if (opaque((size_t){block}) % {fault.number} != 0) fault();"
        case "null":
            yield f"if ({'error != 0' if posix else 'got == NULL'}) fault();"
        case "served":
            yield f"if ({'error == 0' if posix else 'got != NULL'}) fault();"
        case "errno":
            yield f"if ({'error' if posix else 'got == NULL && errno'} != ENOMEM) fault();"
        case "touched":
            yield f"if (error != 0 && got != (void *){UNTOUCHED:#x}) fault();"
        case "overlap":
            ends = f"(char *){block} + malloc_usable_size({block})", f"(char *){other} + malloc_usable_size({other})"
            yield f"if ({block} == {other} || ((char *){block} < {ends[1]} && (char *){other} < {ends[0]})) fault();"
        case "contents":
            yield f"must_be({block}, {fault.number}, {fault.other});"
        case "zero":
            yield f"must_be_zero({block}, {fault.number});"
        case "usable":
            yield f"if (malloc_usable_size({block}) < {fault.number}) fault();"
        case "stable":
            yield f"if (malloc_usable_size({block}) != {fault.number}) fault();"
        case "kept":
            yield "if (errno != -1) fault();"


def _bodies(failure: Failure) -> Iterator[str]:
    """The steps, as a function for each life of a thread, and ``steps`` for the first, which begins and joins them."""
    threaded = any(step.thread for step in failure.steps)
    main: list[str] = []
    others: dict[str, list[str]] = {}
    life: dict[int, str] = {}
    for at, step in enumerate(failure.steps):
        last = at == len(failure.steps) - 1
        if step.name == "thread_exit":
            lines = [f"pthread_join({life.pop(step.thread)}, NULL);"] if step.thread in life else []
        else:
            lines = list(_lines(step, last, failure.fault))
        body = main
        if step.thread and step.name != "thread_exit":
            if step.thread not in life:
                life[step.thread] = f"thread_{len(others) + 1}"
                others[life[step.thread]] = []
                main.append(f"turn({at});")
                main.append(f"pthread_create(&{life[step.thread]}, NULL, live_{life[step.thread]}, NULL);")
            body = others[life[step.thread]]
        body += [f"turn({at});", *lines, "now++;"] if threaded else lines
    if threaded:
        main.append(f"turn({len(failure.steps)});")
    for name, lines in others.items():
        yield f"\nstatic pthread_t {name};\n\nstatic void *live_{name}(void *unused) {{\n"
        yield "".join(f"    {line}\n" for line in lines) + "    return unused;\n}\n"
    yield "\nstatic void steps(void) {\n" + "".join(f"    {line}\n" for line in main) + "}\n"
