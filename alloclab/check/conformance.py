"""The rules of malloc, each tried by ``alloclab-rules`` in a fresh process that the allocator is preloaded into.

Whatever the allocator does to that process, crash, hang, abort or end it, is a finding of the rule. Memory that runs
away ends at a limit of address space.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from alloclab.allocators import LIBC, Allocator, resolve
from alloclab.check.steps import Failure
from alloclab.errors import ReplayError, UsageError
from alloclab.launch import bare_environment, last_line, passed_on
from alloclab.machine import describe
from alloclab.native import built_file

SCHEMA = 1
FAIL, DEVIATES, RECORDED, NOT_APPLICABLE, PASS = "fail", "deviates", "recorded", "not-applicable", "pass"
VERDICTS = (FAIL, DEVIATES, RECORDED, NOT_APPLICABLE, PASS)
"""From the one that outweighs all others to the one that nothing was found for."""

SECONDS = 60
"""Time a rule has, unless the caller says otherwise."""

_GRACE = 2  # seconds more for a process that does not come as far as its own alarm
_ADDRESS_SPACE = 4 << 30


@dataclass(frozen=True)
class Rule:
    """``source``: the standard that says so, or the mistake that was made before."""

    number: str
    must: bool
    title: str
    source: str


@dataclass(frozen=True)
class Seen:
    """What a finding was first seen in: calls as C has them, a kind of fault (steps.py) and its number."""

    sentence: str
    fault: str
    number: int
    step: str


@dataclass(frozen=True)
class Finding:
    """What a rule saw, as a sentence; ``seen`` where the rule can tell by which calls."""

    verdict: str
    why: str
    seen: Seen | None = None


@dataclass(frozen=True)
class Verdict:
    """A rule's verdict is the weightiest of its findings."""

    rule: Rule
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        return min((finding.verdict for finding in self.findings), key=VERDICTS.index, default=PASS)

    @property
    def why(self) -> str:
        return "; ".join(finding.why for finding in sorted(self.findings, key=lambda f: VERDICTS.index(f.verdict)))

    @property
    def broken(self) -> bool:
        return self.rule.must and self.verdict == FAIL


@dataclass(frozen=True)
class Searched:
    """What the property search found, and what it was allowed. ``trouble``: why it could not begin, or ended."""

    examples: int
    steps: int
    seed: int
    failures: tuple[Failure, ...] = ()
    trouble: str = ""


@dataclass(frozen=True)
class Check:
    """What was found of one allocator."""

    allocator: str
    verdicts: tuple[Verdict, ...]
    search: Searched | None = None

    @property
    def failures(self) -> tuple[Failure, ...]:
        return self.search.failures if self.search is not None else ()

    @property
    def broken(self) -> list[Verdict]:
        """The must rules that do not hold."""
        return [verdict for verdict in self.verdicts if verdict.broken]


def to_json(checks: Sequence[Check]) -> str:
    """The document as text, ending in a newline."""
    machine = describe({check.allocator: resolve(check.allocator).preload for check in checks})
    document = {"schema": SCHEMA, "machine": machine, "checks": [_check_to_dict(check) for check in checks]}
    return json.dumps(document, indent=1) + "\n"


def _check_to_dict(check: Check) -> dict[str, Any]:
    rules = [
        {**asdict(v.rule), "verdict": v.verdict, "findings": [{"verdict": f.verdict, "why": f.why} for f in v.findings]}
        for v in check.verdicts
    ]
    holds = not check.broken and not check.failures
    return {"allocator": check.allocator, "holds": holds, "rules": rules, "search": _search_to_dict(check.search)}


def _search_to_dict(search: Searched | None) -> dict[str, Any] | None:
    if search is None:
        return None
    failures = [
        {"rule": f.rule, "sentence": f.sentence, "steps": [str(step) for step in f.steps]} for f in search.failures
    ]
    return {
        "examples": search.examples,
        "steps": search.steps,
        "seed": search.seed,
        "failures": failures,
        "trouble": search.trouble,
    }


@cache
def rules() -> tuple[Rule, ...]:
    """All rules, in order, as the program lists them."""
    command = [str(built_file("alloclab-rules")), "list"]
    done = subprocess.run(command, env=bare_environment(resolve("system")), capture_output=True, text=True, check=True)
    listed = (line.split("\t") for line in done.stdout.splitlines())
    return tuple(Rule(number, must == "must", title, source) for number, must, title, source in listed)


def chosen(numbers: Sequence[str]) -> tuple[Rule, ...]:
    """The rules of these numbers, all for none. UsageError names those that are not there."""
    known = {rule.number: rule for rule in rules()}
    numbers = [number.strip().upper() for number in numbers]
    wrong = [number for number in numbers if number not in known]
    if wrong:
        unknown = ", ".join(number or "''" for number in wrong)
        raise UsageError(f"there is no rule {unknown}; there are {rules()[0].number} to {rules()[-1].number}")
    return tuple(known[number] for number in dict.fromkeys(numbers)) or rules()


def conformance(
    spec: str,
    wanted: Sequence[Rule] = (),
    *,
    seconds: int = SECONDS,
    progress: Callable[[Rule], None] = lambda rule: None,
) -> Check:
    """Try the rules, all where none are named. ReplayError where no program begins on the allocator."""
    allocator = resolve(spec)
    if allocator.kind == "null":
        raise UsageError(f"{spec}: the replay loop's own allocator is no malloc of a process")
    _begin(allocator, seconds)
    verdicts = []
    for rule in wanted or rules():
        progress(rule)
        ended = _run(allocator, [rule.number, str(seconds)], seconds)
        verdicts.append(Verdict(rule, _findings(allocator, ended)))
    return Check(allocator.spec, tuple(verdicts))


@dataclass(frozen=True)
class _Ended:
    """``status``: exit code, or minus the signal; None for a process that had to be killed."""

    status: int | None
    lines: tuple[str, ...]
    said: str

    @property
    def complete(self) -> bool:
        return self.status == 0 and self.lines[-1:] == ("complete",)

    @property
    def how(self) -> str:
        if self.status is None or self.status == -signal.SIGALRM:
            return "hangs"
        if self.status == -signal.SIGABRT:
            return "aborts"
        if self.status < 0:
            return f"crashes ({signal.Signals(-self.status).name})"
        return f"ends the process (exit status {self.status})"


def _run(allocator: Allocator, arguments: Sequence[str], seconds: int) -> _Ended:
    """The program answers in a file of its own: standard output is the library's."""
    with tempfile.TemporaryFile() as answers:
        with passed_on(answers.fileno()) as own:
            process = subprocess.Popen(
                [built_file("alloclab-rules"), "--answers", str(own), *arguments],
                env=bare_environment(allocator),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[own],
                start_new_session=True,
                preexec_fn=_limit,
            )
        status: int | None
        try:
            try:
                said, _ = process.communicate(timeout=seconds + _GRACE)
                status = process.returncode
            except subprocess.TimeoutExpired:
                _kill(process)
                said, _ = process.communicate()
                status = None
        finally:
            _kill(process)
        answers.seek(0)
        lines = answers.read().decode(errors="replace").splitlines()
    return _Ended(status, tuple(lines), last_line(said))


def _limit() -> None:
    """In the child, before the library is there."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With all that it started: its group may outlive it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _begin(allocator: Allocator, seconds: int) -> None:
    """ReplayError unless a program begins on the allocator, and malloc is its own."""
    library = allocator.preload.name if allocator.preload else LIBC
    ended = _run(allocator, ["begin", library], seconds)
    said = f": {ended.said}" if ended.said else ""
    if not ended.complete:
        raise ReplayError(f"{allocator.spec}: {ended.how} before a program on it begins{said}")
    for finding in _findings(allocator, ended):
        raise ReplayError(f"{allocator.spec}: cannot be preloaded, {finding.why}{said}")


def _findings(allocator: Allocator, ended: _Ended) -> tuple[Finding, ...]:
    """What the program said (csrc/check/rule.h), and how it ended where it should not have. ReplayError where the
    library has meddled with that."""
    try:
        return _read(ended)
    except (IndexError, ValueError):
        raise ReplayError(f"{allocator.spec}: what the rules' program says is not its own") from None


def _read(ended: _Ended) -> tuple[Finding, ...]:
    found: list[Finding] = []
    again: dict[int, str] = {}
    last = ""
    for line in ended.lines:
        word, _, rest = line.partition(" ")
        if word in VERDICTS and word != PASS:
            found.append(Finding(word, rest))
        elif word == "by":
            kind, number, step = rest.split(" ", 2)
            found[-1] = replace(found[-1], seen=Seen(found[-1].why, kind, int(number), step))
        elif word == "again":
            index, _, count = rest.partition(" ")
            again[int(index)] = f" (and {int(count):,} more like it)"
        elif word == "while":
            last = rest
    findings = [replace(finding, why=finding.why + again.get(i, "")) for i, finding in enumerate(found)]
    if not ended.complete:
        said = f": {ended.said}" if ended.said else ""
        why = f"{ended.how}{f' in {last}' if last else ''}{said}"
        findings.append(
            Finding(FAIL, why, Seen(why, "hang" if ended.how == "hangs" else "crash", 0, last) if last else None)
        )
    return tuple(findings)
