"""A failure, told so that others can see it: a sentence with its steps, a C program, a trace."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from alloclab.check.programs import PROGRAMS
from alloclab.check.steps import BIRTHS, RESIZES, TAKE_A_BLOCK, Failure, Fault, Step
from alloclab.check.subject import UNTOUCHED
from alloclab.files import write_whole
from alloclab.native import built_file
from alloclab.trace.model import Events, Metadata, Op
from alloclab.trace.parquet import TraceWriter

PAGE = 4096
SECONDS = 20


def told(failure: Failure) -> str:
    """The rule, what was seen, and the steps, one a line."""
    steps = [f"  {i}. {step}" for i, step in enumerate(failure.steps, 1)]
    if failure.fault.kind == "rule":
        steps = [f"  LD_PRELOAD=THE-LIBRARY {built_file('alloclab-rules')} {failure.rule}"]
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
    """What a replay of it does; None where it is more than a trace can say: a trim, a system call that fails,
    what is no matter of a few calls."""
    if failure.fault.kind in PROGRAMS or any(step.name == "trim" or step.fails for step in failure.steps):
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
        if op == Op.REALLOC and step.block is None:
            op = Op.MALLOC
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

FILLED = ("contents", "zero", "overlap", "crash", "hang")
"""Faults that are seen in what is written to blocks, or may be of it."""
_OF_NO_BLOCK = ("null", "served", "errno", "touched", "kept", "unlike")
"""Faults that the last call shows even where it makes none."""
_BEFORE = {"kept": "errno = -1;", "errno": "errno = 0;", "touched": f"got = (void *){UNTOUCHED:#x};"}
"""What is set before it."""
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
_ANY_FREE = """
/* A compiler takes for granted that free itself keeps errno. */
static void (*volatile any_free)(void *) = free;
"""
_ANY_ALIGNED = """
/* A compiler takes for granted what posix_memalign itself leaves alone. */
static int (*volatile any_posix_memalign)(void **, size_t, size_t) = posix_memalign;
"""
_SOME = """
/* The block, of which a compiler knows nothing; without one the fault is not reached. */
static void *some(void *block) {
    void *volatile unknown = block;
    if (unknown == NULL) exit(0);
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
_SIZED = """
/* free_sized of C23, where there is one. */
static void free_of_size(void *block, size_t bytes) {
    void (*sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    if (sized != NULL) sized(block, bytes);
    else free(block);
}
"""
_ALIGNED_SIZED = """
/* free_aligned_sized of C23, where there is one. */
static void free_of_aligned_size(void *block, size_t alignment, size_t bytes) {
    void (*sized)(void *, size_t, size_t) =
        (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
    if (sized != NULL) sized(block, alignment, bytes);
    else free(block);
}
"""
_LIBRARY = """
/* The file of the library that answers it, "" for none. */
static const char *library(const char *function) {
    Dl_info info;
    void *at = dlsym(RTLD_DEFAULT, function);
    return at != NULL && dladdr(at, &info) != 0 ? info.dli_fname : "";
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
_CAME_TO_ITS_END = """
enum { END = 77 }; /* exit status of a child that comes to its end */
"""
_MAIN_APART = """
int main(void) {
    int status;
    if (fork() == 0) {
        alarm(SECONDS);
        steps();
        exit(END);
    }
    if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != END) fault();
    return 0;
}
""".replace("SECONDS", str(SECONDS))


def c_program(failure: Failure) -> str | None:
    """Compiles alone; its exit status is 1, and the sentence on standard output, where the malloc that it runs on has
    the fault, otherwise 0. None for what only a heap that can be looked into shows."""
    kind = failure.fault.kind
    if kind in ("inside", "rule"):
        return None
    said = f"{failure.rule}: {failure.sentence}".replace("*/", "* /").replace("\n", " ")
    if kind in PROGRAMS:
        return _headed(said, PROGRAMS[kind].replace("SIZES", ", ".join(str(step.numbers[0]) for step in failure.steps)))
    bodies = "".join(_bodies(failure))
    helpers = {
        _OPAQUE: ("opaque(",),
        _SOME: ("some(",),
        _ANY_FREE: ("any_free(",),
        _ANY_ALIGNED: ("any_posix_memalign(",),
        _PATTERN: ("fill(", "must_be("),
        _FILL: ("fill(",),
        _KEPT: ("must_be(",),
        _ZERO: ("must_be_zero(",),
        _SIZED: ("free_of_size(",),
        _ALIGNED_SIZED: ("free_of_aligned_size(",),
        _LIBRARY: ("library(",),
        _LIMIT: ("refuse(",),
        _TURNS: ("turn(",),
    }
    used = [helper for helper, names in helpers.items() if any(name in bodies for name in names)]
    text = "".join([*used, _variables(bodies), bodies])
    if failure.fault.deadly:
        text = _CAME_TO_ITS_END + text.replace("exit(0)", "exit(END)") + _MAIN_APART
    return _headed(said, text)


def _headed(said: str, text: str) -> str:
    head = _HEAD.format(
        sentence=said,
        how="gcc -Wall -Wextra -Werror -pthread THIS.c && LD_PRELOAD=THE-LIBRARY ./a.out",
        includes="\n".join(f"#include <{name}.h>" for name in _includes(text)),
        said=_literal(said + "\n"),
    )
    return head + text


def _includes(text: str) -> list[str]:
    needs = {
        "dlfcn": "dlsym",
        "errno": "errno",
        "malloc": "",
        "pthread": "pthread_",
        "sched": "sched_yield",
        "signal": "signal(",
        "stdint": "_MAX",
        "stdio": "scanf",
        "stdlib": "",
        "string": "strcmp",
        "sys/resource": "rlimit",
        "sys/wait": "wait",
        "unistd": "",
    }
    return [name for name, word in needs.items() if word in text]


def _literal(text: str) -> str:
    """As C has it, in plain characters."""
    plain = text.encode("ascii", "replace").decode()
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("??", "?\\?")
    return '"' + "".join(c if c.isprintable() else "?" for c in escaped) + '"'


def _variables(bodies: str) -> str:
    """Not static: others might look at them, so a compiler leaves out no call."""
    blocks = sorted(set(re.findall(r"\bb\d+\b", bodies)), key=lambda name: int(name[1:]))
    pointers = [f"*{name}" for name in [*(["got"] if "got" in bodies else []), *blocks]]
    lines = [f"void {', '.join(pointers)};\n"] if pointers else []
    lines += [f"int {name};\n" for name in ("error", "gave") if f"{name} " in bodies]
    return "".join(["\n", *lines]) if lines else ""


def _number(value: int) -> str:
    """As one would write it; a compiler is not to see at once that no object is so large."""
    if value < 1 << 31:
        return str(value)
    for limit, name in ((1 << 64) - 1, "SIZE_MAX"), ((1 << 63) - 1, "(size_t)PTRDIFF_MAX"):
        beside = value - limit
        if abs(beside) < 1 << 20:
            return f"opaque({name}{f' {_sign(beside)} {abs(beside)}' if beside else ''})"
    return f"opaque({value}u)"


def _sign(value: int) -> str:
    return "-" if value < 0 else "+"


def _expression(step: Step, to: str) -> str:
    """The call; posix_memalign's result goes to variable ``to``."""
    numbers = [_number(n) for n in step.numbers]
    block = "NULL" if step.block is None else f"b{step.block}"
    match step.name:
        case "posix_memalign":
            return f"posix_memalign(&{to}, {', '.join(numbers)})"
        case "usable_size":
            return f"malloc_usable_size({block})"
        case "trim":
            return f"malloc_trim({numbers[0]})"
        case "free_sized" | "free_aligned_sized":
            name = "free_of_size" if step.name == "free_sized" else "free_of_aligned_size"
            return f"{name}({', '.join([block, *numbers])})"
        case name if name in TAKE_A_BLOCK:
            return f"{name}({', '.join([block, *numbers])})"
        case name:
            return f"{name}({', '.join(numbers)})"


def _call(step: Step, fault: Fault, last: bool) -> Iterator[str]:
    """With what becomes of its result: a block of its own, or ``got`` and ``error`` where it may have none."""
    makes = step.name in (*BIRTHS, *RESIZES)
    zero = fault.kind == "unlike" and step.block is not None and not any(step.numbers)
    to = "got" if step.result is None or zero or (last and fault.kind in _OF_NO_BLOCK) else f"b{step.result}"
    expression = _expression(step, to)
    if last and fault.kind in ("kept", "touched") and step.name in ("free", "posix_memalign"):
        expression = f"any_{expression}"
    if not makes:
        yield f"{expression};"
    elif step.name == "posix_memalign":
        if to == "got":
            yield f"error = {expression};"
        else:
            yield from (f"if ({_expression(step, 'got')} != 0) exit(0);", f"{to} = some(got);")
    else:
        yield f"got = {expression};" if to == "got" else f"{to} = some({expression});"
    if zero and not last:
        yield "gave = got != NULL;"
        if step.result is not None:
            yield f"b{step.result} = got;"


def _lines(step: Step, last: bool, fault: Fault) -> Iterator[str]:
    if last and fault.kind in _BEFORE:
        yield _BEFORE[fault.kind]
    yield from ["refuse(1);", *_call(step, fault, last), "refuse(0);"] if step.fails else _call(step, fault, last)
    if last:
        yield from _looks(step, fault)
    if step.result is not None and fault.kind in FILLED and not (last and not fault.deadly):
        yield f"fill(b{step.result}, {step.result});"


def _looks(step: Step, fault: Fault) -> Iterator[str]:
    block, other = f"b{fault.block}", f"b{fault.other}"
    posix = step.name == "posix_memalign"
    match fault.kind:
        case "aligned":
            yield f"if ((size_t){block} % {fault.number} != 0) fault();"
        case "null":
            yield f"if ({'error != 0' if posix else 'got == NULL'}) fault();"
        case "served":
            yield f"if ({'error == 0' if posix else 'got != NULL'}) fault();"
        case "errno":
            wrong = f"!= {errno.errorcode[fault.number]}" if fault.number else "== 0"
            yield f"if ({'error' if posix else 'got == NULL && errno'} {wrong}) fault();"
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
        case "unlike":
            yield "if (gave != (got != NULL)) fault();"


def _bodies(failure: Failure) -> Iterator[str]:
    """The steps, as a function for each life of a thread, and ``main`` for the first, which begins and joins them, or
    ``steps`` where a child does them."""
    threaded = any(step.thread for step in failure.steps)
    main: list[str] = []
    if failure.fault.kind == "foreign":
        names = failure.function.split(", ")
        main += [f'if (strcmp(library("{name}"), library("malloc")) != 0) fault();' for name in names]
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
    if failure.fault.deadly:
        yield "\nstatic void steps(void) {\n" + "".join(f"    {line}\n" for line in main) + "}\n"
    else:
        yield "\nint main(void) {\n" + "".join(f"    {line}\n" for line in [*main, "return 0;"]) + "}\n"
