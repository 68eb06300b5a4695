"""Two allocators chose unlike places for a block. Was the other's choice open to a glass box, and was its own better?

The glass box replays the trace once more, up to that operation; then it is asked what it has in both places. Of the
facts that it knows of a free piece (``explain`` in csrc/allocators/allocator.h) these say more than themselves:

    serves from, serves to    the requests for which the piece may be handed out, in bytes
    serial, extent            of two pieces, the one where this pair is smaller goes first
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from alloclab.replay.places import Piece

Name = Literal["own", "other"]


@dataclass(frozen=True)
class Choices:
    """What the heap of ``allocator`` had, before the operation, where it then put the block itself and where the other
    side did; None: nothing, or nothing that had ever held a block. ``candidate``: it could have put the block there,
    too. ``first``: which place goes first by its own order; None: it tells none."""

    allocator: str
    own: Piece | None
    other: Piece | None
    candidate: bool
    first: Name | None


def choices(allocator: str, pieces: Sequence[Piece | None], request: int) -> Choices:
    """Of its own piece and the other's."""
    own, other = pieces
    return Choices(allocator, own, other, _serves(other, request), _first(own, other))


def _serves(piece: Piece | None, request: int) -> bool:
    if piece is None or piece.state not in ("free", "cached"):
        return False
    least, most = (piece.facts.get(f"serves {end}") for end in ("from", "to"))
    return request <= piece.bytes if least is None or most is None else int(least) <= request <= int(most)


def _first(own: Piece | None, other: Piece | None) -> Name | None:
    if own is None or other is None:
        return None
    ranks = [(piece.facts.get("serial"), piece.facts.get("extent")) for piece in (own, other)]
    numbers = [[int(n) for n in rank if n is not None] for rank in ranks]
    if any(len(rank) < 2 for rank in numbers) or numbers[0] == numbers[1]:
        return None
    return "own" if numbers[0] < numbers[1] else "other"
