"""Lines imported a second, Parquet written: a generated file of a million lines of every text format.

python tests/benchmarks/bench_import.py [LINES]
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from alloclab.machine import describe, one_line
from alloclab.trace.importers import import_file

Line = Callable[[str, int, int, int, int], str]  # operation, id, address, size, thread


def program(events: int) -> Iterator[tuple[str, int, int, int, int]]:
    """Births and deaths over some ten thousand live blocks, with a realloc in place now and then."""
    draw = random.Random(1)
    live: list[tuple[int, int]] = []
    spare = [0x7F0000000000 + 64 * i for i in range(40_000)]
    born = 0
    for _ in range(events):
        thread = 100 + draw.randrange(8)
        if live and (len(live) > 10_000 or draw.random() < 0.45):
            at = draw.randrange(len(live))
            block, address = live[at]
            if draw.random() < 0.1:
                yield "r", block, address, draw.randrange(1, 5000), thread
                continue
            live[at] = live[-1]
            live.pop()
            spare.append(address)
            yield "f", block, address, 0, thread
        else:
            live.append((born, spare.pop()))
            yield "a", *live[-1], draw.randrange(1, 5000), thread
            born += 1


def android(op: str, block: int, address: int, size: int, thread: int) -> str:
    words = {
        "a": f"malloc {address:#x} {size}",
        "r": f"realloc {address:#x} {address:#x} {size}",
        "f": f"free {address:#x}",
    }
    return f"{thread}: {words[op]}"


def script(op: str, block: int, address: int, size: int, thread: int) -> str:
    return f"{op} {block}" if op == "f" else f"{op} {block} {size}"


def wee_alloc(op: str, block: int, address: int, size: int, thread: int) -> str:
    return f"Free({block})," if op == "f" else f"Alloc({size}),"


def mtrace(op: str, block: int, address: int, size: int, thread: int) -> str:
    who = f"@ ./program:(function+0x1c)[0x{0x401000 + size:x}] "
    words = {
        "a": f"+ {address:#x} {size:#x}",
        "r": f"< {address:#x}\n{who}> {address:#x} {size:#x}",
        "f": f"- {address:#x}",
    }
    return who + words[op]


def valgrind(op: str, block: int, address: int, size: int, thread: int) -> str:
    words = {
        "a": f"malloc({size}) = 0x{address:X}",
        "r": f"realloc(0x{address:X},{size}) = 0x{address:X}",
        "f": f"free(0x{address:X})",
    }
    return f"--77-- {words[op]}"


def ltrace(op: str, block: int, address: int, size: int, thread: int) -> str:
    words = {"a": f"malloc({size})", "r": f"realloc({address:#x}, {size})", "f": f"free({address:#x})"}
    return f"[pid {thread}] program->{words[op]:30} = {'<void>' if op == 'f' else hex(address)}"


FORMATS: dict[str, tuple[str, Line]] = {
    "android": ("", android),
    "script": ("", script),
    "rep": ("1\n2\n3\n4\n", script),
    "wee_alloc": ("", wee_alloc),
    "mtrace": ("= Start\n", mtrace),
    "valgrind": ("", valgrind),
    "ltrace": ("", ltrace),
}


def main() -> None:
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(one_line(describe()))
    print(f"{'format':10} {'lines':>10} {'lines/s':>12} {'bytes/event':>12}")
    with tempfile.TemporaryDirectory() as folder:
        for name, (head, line) in FORMATS.items():
            path, out = Path(folder, "trace"), Path(folder, "trace.parquet")
            with path.open("w") as file:
                file.write(head)
                file.writelines(
                    line(*event) + "\n" for event in program(lines) if name != "wee_alloc" or event[0] != "r"
                )
            text = path.read_bytes().count(b"\n")
            start = time.process_time()  # on one core: what other threads do counts too
            report = import_file(path, out)
            seconds = time.process_time() - start
            size = out.stat().st_size / report.events
            print(f"{name:10} {text:10,} {text / seconds:12,.0f} {size:12.2f}")


if __name__ == "__main__":
    main()
