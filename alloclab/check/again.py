"""What a rule saw, seen again: the calls that it names are tried in a fresh process, until they show it."""

from __future__ import annotations

import ast
import contextlib
import operator
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from alloclab.allocators import resolve
from alloclab.check.conformance import DEVIATES, FAIL
from alloclab.check.programs import PROGRAMS
from alloclab.check.reproduce import FILLED, write
from alloclab.check.steps import BIRTHS, DEATHS, RESIZES, TAKE_A_BLOCK, Failure, Fault, Step
from alloclab.check.subject import CALLS, UNSET, UNTOUCHED, Answer, BrokenError, MissingError, Server, Subject
from alloclab.errors import ReplayError

if TYPE_CHECKING:
    from alloclab.check.conformance import Check, Seen

TIMES = 8
"""How often the calls are made, one after the other, before they are given up."""
TIMES_TO_DIE = 64
"""The same, until the process dies of one."""

_LIMITS = {"SIZE_MAX": (1 << 64) - 1, "PTRDIFF_MAX": (1 << 63) - 1}
_OPERATORS: dict[type, Callable[[int, int], int]] = {
    **{ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.floordiv}
}
_SHORT = {"malloc_usable_size": "usable_size", "malloc_trim": "trim"}


def calls(text: str) -> tuple[Step, ...]:
    """Of ``free(malloc(24)), malloc(SIZE_MAX - 7)``; none where it is no such thing. What can make a block has a
    result."""
    try:
        made = ast.parse(f"[{text}]", mode="eval").body
        steps: list[Step] = []
        for call in made.elts if isinstance(made, ast.List) else []:
            _call(call, steps)
    except (SyntaxError, ValueError, ZeroDivisionError):
        return ()
    return tuple(steps)


def _call(node: ast.expr, steps: list[Step]) -> int | None:
    """Adds the call, after those in its arguments. Returns the block that it makes. ValueError: it is none."""
    if isinstance(node, ast.Name) and node.id == "NULL":
        return None
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        raise ValueError
    name, given = _SHORT.get(node.func.id, node.func.id), list(node.args)
    block = _call(given.pop(0), steps) if name in TAKE_A_BLOCK and given else None
    numbers = tuple(_number(n) for n in given)
    result = sum(step.result is not None for step in steps) + 1 if name in (*BIRTHS, *RESIZES) else None
    steps.append(Step(name, numbers, block, result))
    return result


def _number(node: ast.expr) -> int:
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.Name(id=name) if name in _LIMITS:
            return _LIMITS[name]
        case ast.BinOp() if type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](_number(node.left), _number(node.right))
    raise ValueError


def _times(steps: tuple[Step, ...], times: int) -> tuple[Step, ...]:
    """The same again, with other blocks."""
    blocks = sum(step.result is not None for step in steps)

    def other(block: int | None, time: int) -> int | None:
        return None if block is None else block + time * blocks

    return tuple(
        replace(step, block=other(step.block, time), result=other(step.result, time))
        for time in range(times)
        for step in steps
    )


def reproducers(check: Check, folder: Path, prefix: str = "") -> int:
    """Writes there what shows each finding of a rule, and each failure of the search, in files that begin with the
    ``prefix``, or the allocator's name. Returns how many C programs."""
    allocator = resolve(check.allocator)
    with Server(allocator) as server:
        found = [(failure.rule, failure) for failure in seen_again(check, server)]
    found += [(str(number), failure) for number, failure in enumerate(check.failures, 1)]
    times = Counter[str]()
    written: list[Path] = []
    for name, failure in found:
        times[name] += 1
        once_more = f"-{times[name]}" if times[name] > 1 else ""
        written += write(failure, folder, f"{prefix or allocator.name}-{name}{once_more}")
    return sum(path.suffix == ".c" for path in written)


def seen_again(check: Check, server: Server) -> Iterator[Failure]:
    """Each finding: by the calls that it names if these show it here, too, otherwise by nothing but the rule."""
    for verdict in check.verdicts:
        rule = verdict.rule.number
        for finding in verdict.findings:
            failure = None
            if finding.seen is not None:
                with contextlib.suppress(ReplayError):  # no process of the server's runs on it
                    failure = _seen_again(rule, finding.seen, server)
            if failure is not None:
                yield failure
            elif finding.verdict in (FAIL, DEVIATES):
                yield Failure(rule, "", finding.why, (), Fault("rule"))


def _seen_again(rule: str, seen: Seen, server: Server) -> Failure | None:
    if seen.fault == "foreign":
        return Failure(rule, seen.step, seen.sentence, (), Fault("foreign"))
    once = calls(seen.step)
    if seen.fault in PROGRAMS:
        steps = tuple(replace(step, result=None) for step in once)
        return Failure(rule, seen.fault, seen.sentence, steps, Fault(seen.fault))
    if not once or any(step.name not in CALLS for step in once):
        return None
    wanted = Fault(seen.fault, number=seen.number)
    for times in (TIMES_TO_DIE,) if wanted.deadly else range(1, TIMES + 1):
        with contextlib.closing(_Trial(server.subject(), wanted)) as trial:
            fault = trial.run(_times(once, times))
        if fault is not None:
            return Failure(rule, trial.steps[-1].name, seen.sentence, tuple(trial.steps), fault)
    return None


class _Trial:
    """The calls in a process of their own. ``steps``: what was done."""

    def __init__(self, subject: Subject, fault: Fault) -> None:
        self.steps: list[Step] = []
        self._subject, self._fault = subject, fault
        self._live: dict[int, int] = {}  # block -> address

    def close(self) -> None:
        with contextlib.suppress(BrokenError):
            self._subject.close()

    def run(self, steps: tuple[Step, ...]) -> Fault | None:
        """The fault as a program looks for it, if it is there."""
        try:
            for step in steps[:-1]:
                self._do(step)
                self._fill()
            return self._look(self._do(steps[-1]))
        except BrokenError:
            return self._fault if self._fault.deadly else None
        except (KeyError, MissingError):  # a block that could not be had, a function that is not there
            return None

    def _do(self, step: Step) -> Answer:
        given = [] if step.name not in TAKE_A_BLOCK else [0 if step.block is None else self._live[step.block]]
        self.steps.append(step)
        answer = self._subject.call(step.name, *given, *step.numbers)
        made = step.result is not None and answer.value not in (0, UNTOUCHED)
        if step.block is not None and (made or step.name in DEATHS):
            del self._live[step.block]
        if step.result is not None and made:
            self._live[step.result] = answer.value
        else:
            self.steps[-1] = replace(step, result=None)
        return answer

    def _fill(self) -> None:
        block = self.steps[-1].result
        if block is not None and self._fault.kind in FILLED:
            self._subject.fill(self._live[block], self._usable(block), block)

    def _usable(self, block: int) -> int:
        return self._subject.call("usable_size", self._live[block]).value

    def _look(self, answer: Answer) -> Fault | None:
        last = self.steps[-1]
        block = last.result if last.result is not None else last.block
        if self._fault.kind == "overlap":
            pairs = [pair for pair in combinations(self._live, 2) if self._overlap(*pair)]
            return replace(self._fault, block=pairs[0][1], other=pairs[0][0]) if pairs else None
        return replace(self._fault, block=block, other=last.block or block) if self._shows(answer, block) else None

    def _overlap(self, block: int, other: int) -> bool:
        ends = {b: self._live[b] + max(self._usable(b), 1) for b in (block, other)}
        return self._live[block] < ends[other] and self._live[other] < ends[block]

    def _shows(self, answer: Answer, block: int | None) -> bool:
        """Any other fault, in what the last call left."""
        last, number = self.steps[-1], self._fault.number
        made, posix = last.result is not None, last.name == "posix_memalign"
        match self._fault.kind:
            case "null":
                return not made
            case "served":
                return made
            case "errno":
                wrong = answer.error in (0, UNSET) if number == 0 else answer.error != number
                return wrong and (posix or not made)
            case "touched":
                return answer.error != 0 and answer.value != UNTOUCHED
            case "kept":  # what errno is after posix_memalign, a server does not say; the rule saw it
                return posix or answer.error != UNSET
            case "unlike":
                return any(s.result is None for s in self._alike(last)) and any(s.result for s in self._alike(last))
        if block not in self._live:
            return False
        at = self._live[block]
        match self._fault.kind:
            case "aligned":
                return at % number != 0
            case "zero":
                return self._subject.not_zero(at, number) < number
            case "usable":
                return self._usable(block) < number
            case "contents":
                return self._subject.wrong(at, number, last.block or block) < number
        return False

    def _alike(self, step: Step) -> list[Step]:
        return [s for s in self.steps if (s.name, s.numbers) == (step.name, step.numbers)]
