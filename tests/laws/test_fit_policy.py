"""Every policy, order and coalesce of fit places every block where a naive model says."""

from __future__ import annotations

import itertools
import random

import pytest
from fit_model import FitModel

from alloclab.heap import Heap

POLICIES = ["first", "next", "best", "worst"]
ORDERS = ["lifo", "fifo", "address"]
COALESCE = ["immediate", "deferred", "never"]
PAGE = 4096


def draw_size(rng: random.Random) -> int:
    return rng.choice([rng.randrange(200), rng.randrange(200), 16 * rng.randrange(40), rng.randrange(20000)])


@pytest.mark.parametrize(("policy", "order", "coalesce"), [*itertools.product(POLICIES, ORDERS, COALESCE)])
def test_the_model_gives_the_same_addresses(policy: str, order: str, coalesce: str) -> None:
    for seed, (top_pad, trim_threshold) in enumerate([(0, 0), (8 * PAGE, 16 * PAGE), (PAGE, 1 << 30)]):
        rng = random.Random(seed)
        model = FitModel(policy, order, coalesce, top_pad, trim_threshold)
        settings = {"top_pad": top_pad, "trim_threshold": trim_threshold, "mmap_threshold": 1 << 30}
        with Heap("fit", policy=policy, order=order, coalesce=coalesce, **settings) as heap:
            base = heap.regions.base
            live: list[int] = []
            for step in range(500):
                drain = step // 100 % 2 == 1
                kind = rng.choices(["malloc", "realloc", "free"], [2, 1, 4] if drain else [4, 1, 2])[0]
                if kind == "malloc" or not live:
                    size = draw_size(rng)
                    live.append(heap.malloc(size) - base)
                    assert live[-1] == model.malloc(size)
                elif kind == "free":
                    block = live.pop(rng.randrange(len(live)))
                    heap.free(base + block)
                    model.free(block)
                else:
                    at, size = rng.randrange(len(live)), draw_size(rng) or 1
                    block = live[at]
                    live[at] = heap.realloc(base + block, size) - base
                    assert live[at] == model.realloc(block, size)
                if step % 50 == 0:
                    heap.validate()
            heap.validate()
            found = [(c.address - base, c.bytes, c.state == "live") for c in heap.walk()]
            expected = [(c.at, c.size, c.live) for c in model.chunks]
            assert found == [(0, 24, False), *expected, (model.top, model.end - model.top, False)]
