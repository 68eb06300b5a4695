"""What is known of the worst case of peak mapped / peak live, from the literature.

Memory is counted in words of the least block; ``M`` words live at most, blocks have 1 to ``n``. The theorems know
neither headers nor pages, and programs as long as need be; they are about malloc and free.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from alloclab.allocators import Allocator, lab_allocator
from alloclab.check.program import Limits

MEASURE = "fragmentation_4"
"""What they bound."""


@dataclass(frozen=True)
class Bound:
    """``at least``: an adversary can bring it to this. ``at most``: none can bring it further. ``about``: an adversary
    comes near it where M is much more than n * n."""

    kind: Literal["at least", "at most", "about"]
    ratio: float
    of: str
    source: str


def bounds(allocator: Allocator, limits: Limits, measure: str, *, reallocs: bool) -> list[Bound]:
    """Those that hold for the allocator; none for other measures."""
    if measure != MEASURE:
        return []
    found = [_robson(limits)]
    if allocator.name == "fit":
        settings = {t.name: t.default for t in lab_allocator("fit").tunables} | allocator.tunables()
        how = tuple(settings[name] for name in ("policy", "coalesce"))
        if how == ("best", "immediate"):
            found.append(_best_fit(limits))
        if how == ("first", "immediate") and settings["order"] == "address" and not reallocs:
            found.append(_first_fit(limits))
    return found


def _robson(limits: Limits) -> Bound:
    """N = M * (log2(n) / 2 + 1) - n + 1 where sizes are powers of two: needed by the best malloc, and enough for it."""
    power = (limits.most // limits.least).bit_length() - 1
    words = limits.live // limits.least
    return Bound(
        "at least",
        1 + power / 2 - ((1 << power) - 1) / words,
        "any malloc that moves no block, and gives nothing back from between blocks",
        "Robson 1974: M (log2(n)/2 + 1) - n + 1",
    )


def _first_fit(limits: Limits) -> Bound:
    words = limits.most // limits.least
    return Bound(
        "at most",
        sum(1 / i for i in range(1, words + 1)) / math.log(2),
        "first fit that takes the lowest address",
        "Robson 1977; Knuth, TAOCP 1, 2.5, exercise 43: M H(n) / ln 2",
    )


def _best_fit(limits: Limits) -> Bound:
    return Bound(
        "about",
        limits.most // limits.least,
        "best fit, where M is far more than n squared",
        "Robson 1977; Knuth, TAOCP 1, 2.5, exercise 42: M n - O(M + n^2)",
    )
