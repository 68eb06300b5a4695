"""The measures: what a replay's figures mean, one file per family, each of which registers itself.

To add a measure, write a function from a run to a number in a module of this package and decorate it with
:func:`metric`; it then appears in ``METRICS``, in every table and in the JSON. Its docstring is its definition: the
help of its column and the docs show it.

Words: *live* is what the program holds, in bytes it asked for; *mapped* what the allocator holds from the system,
readable and writable; *resident* what of that has a physical page. The *peak of live* is the first moment at which live
is largest; in concurrent replays, the sample where it is.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from alloclab.replay import RawRun, UnmeasuredError
from alloclab.result import Value

__all__ = ["METRICS", "Metric", "measure", "metric"]

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Metric:
    """A measure. ``compute`` never raises: what was not measured is a Value of None with the reason."""

    name: str
    unit: str
    help: str
    better: Better
    compute: Callable[[RawRun], Value]


METRICS: dict[str, Metric] = {}
"""By name, in the order in which tables show them."""


def register(name: str, unit: str, help: str, formula: Callable[[RawRun], float], better: Better = "lower") -> None:
    """Adds a measure whose value is ``formula(run)``."""

    def compute(run: RawRun) -> Value:
        try:
            return Value(formula(run), unit)
        except UnmeasuredError as why:
            return Value(None, unit, reason=str(why))
        except ZeroDivisionError:
            return Value(None, unit, reason="nothing to divide by: the trace has none")

    METRICS[name] = Metric(name, unit, help, better, compute)


def metric(unit: str, better: Better = "lower") -> Callable[[Callable[[RawRun], float]], Callable[[RawRun], float]]:
    """Registers the function as a measure of its own name; its docstring is the definition."""

    def decorate(formula: Callable[[RawRun], float]) -> Callable[[RawRun], float]:
        help = " ".join((inspect.getdoc(formula) or "").split())
        register(formula.__name__, unit, help, formula, better)
        return formula

    return decorate


def measure(run: RawRun) -> dict[str, Value]:
    """All measures of a run."""
    return {name: m.compute(run) for name, m in METRICS.items()}


def _load_families() -> None:
    first = ["memory", "fragmentation", "calls", "realloc", "time", "threads", "ledger"]
    found = [module.name for module in pkgutil.iter_modules(__path__)]
    for name in sorted(found, key=lambda n: (first.index(n) if n in first else len(first), n)):
        importlib.import_module(f"{__name__}.{name}")


_load_families()
