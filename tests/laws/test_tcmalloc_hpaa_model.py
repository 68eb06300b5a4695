"""Every block of tcmalloc-hpaa lies where a model of its rules says, on random calls of several CPUs."""

from __future__ import annotations

import random

import pytest
from hpaa_model import CLASSES, PAGE, Model, Object, Shape, number, one
from support import budget as examples

from alloclab.heap import Heap, Thread

NAME = "tcmalloc-hpaa"


def model_of(heap: Heap, cpus: int, budget: int) -> Model:
    rows = [{name: int(v) for name, v in row.items() if name != "table"} for row in heap.view("classes")]
    return Model([Shape(r["bytes"], r["pages"], r["batch"], r["cpu_most"]) for r in rows], cpus, budget)


SIZES = [
    pytest.param((16, 32, 33, 100), id="small"),
    pytest.param((64, 1000, 1152, 5000), id="middle"),
    pytest.param((4096, 9000, 30_000, 70_000, 262_144), id="large"),
    pytest.param(tuple(2**n + 1 for n in range(3, 18)), id="all"),
]


CACHES = [
    pytest.param(cpus, budget, marks=[] if budget == 200_000 else [pytest.mark.slow])
    for cpus, budget in ((1, 3 << 19), (3, 3 << 19), (2, 20_000), (2, 200_000))
]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("cpus", "budget"), CACHES)
def test_every_block_lies_where_the_rules_say(sizes: tuple[int, ...], cpus: int, budget: int) -> None:
    """In its span, that is: the model knows no addresses, and learns that of a span by its first block."""
    rng = random.Random(sizes[0] * 100 + cpus)
    with Heap(NAME, cpus=cpus, max_per_cpu_cache_size=budget) as heap:
        model, threads = model_of(heap, cpus, budget), [Thread(heap) for _ in range(cpus)]
        spans: dict[int, int] = {}
        live: list[tuple[int, int, Object]] = []
        for step in range(examples(1500)):
            cpu = rng.randrange(cpus)
            thread = threads[(cpu - 1) % cpus]  # ids begin with 1
            if live and rng.random() < (0.65 if step // 250 % 2 else 0.35):
                address, size, block = live.pop(rng.randrange(len(live)))
                thread.free(address)
                model.cpus[cpu].free(number(size) - 1, block)
            else:
                size = rng.choice(sizes)
                address, block = thread.malloc(size), model.cpus[cpu].malloc(number(size) - 1)
                base = address - block[1] * CLASSES[number(size) - 1]
                assert spans.setdefault(block[0], base) == base and base % PAGE == 0, step
                live.append((address, size, block))
        heap.validate()
        for i, stacks in enumerate(zip(*(cpu.stacks for cpu in model.cpus), strict=True)):
            capacities = {r["cpu"]: r["capacity"] for r in heap.view("cpu_caches") if r["class"] == i + 1}
            assert all(capacities.get(n, 0) == s.capacity for n, s in enumerate(stacks))
            assert one(heap.view("transfer"), **{"class": i + 1})["used"] == len(model.classes[i].transfer)
