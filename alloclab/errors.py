"""One family of errors: each is one line for the user and one exit code."""

from __future__ import annotations


class AlloclabError(Exception):
    """What the user can mend: what is wrong, where, and what to do. ``exit_code`` is the command's."""

    exit_code = 1


class UsageError(AlloclabError):
    """An unknown allocator, tunable, option value or combination; the message lists what exists."""

    exit_code = 2


class TraceError(AlloclabError):
    """A trace or foreign file that is malformed, unreadable or contradicts itself."""

    exit_code = 3

    @classmethod
    def at(cls, path: object, where: str, found: str, expected: str) -> TraceError:
        """For example ``app.rep: line 7: found 'x 1', expected an operation a, r or f``."""
        return cls(f"{path}: {where}: found {found}, expected {expected}")


class LaunchError(AlloclabError):
    """A program that cannot be run as we would: not found, static, setuid."""

    exit_code = 4


class RecordError(LaunchError):
    """A program that runs, but of which nothing was recorded."""


class ReplayError(AlloclabError):
    """An allocator that cannot be replayed on: not a malloc, crashed, gave up, or failed verification."""

    exit_code = 5


class GateError(AlloclabError):
    """A ``--fail-if`` condition that holds."""

    exit_code = 6


class CheckError(AlloclabError):
    """A malloc that breaks a rule it must obey."""

    exit_code = 7
