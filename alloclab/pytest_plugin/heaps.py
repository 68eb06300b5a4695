"""The fixture ``heap``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest

from alloclab.allocators import resolve
from alloclab.errors import AlloclabError, UsageError
from alloclab.heap import Heap

SHOWN = 5


def lent(item: pytest.Item, spec: str, *, leaks: bool = True, **settings: Any) -> Iterator[Heap]:
    """A heap for the time of a test. The test fails where it is not sound at its end, or with ``leaks=False`` where
    blocks live. ``settings`` go to :class:`Heap`. A heap that the test closed is not looked at."""
    try:
        allocator = resolve(spec)
        if allocator.kind != "lab":
            raise UsageError(f"{spec}: only the laboratory's own allocators can be looked into")
        heap = Heap(allocator.name, **{**allocator.tunables(), **settings})
    except (AlloclabError, TypeError) as error:
        raise pytest.fail.Exception(f"alloclab_heap: {error}", pytrace=False) from None
    with heap:
        yield heap
        if heap.closed:
            return
        try:
            heap.validate()
        except AlloclabError as flaw:
            raise pytest.fail.Exception(f"the heap is not sound after the test: {flaw}", pytrace=False) from None
        left = _left(heap)
        if left and not leaks:
            pytest.fail(f"never freed: {left}", pytrace=False)
        if left:
            item.add_report_section("teardown", "heap", f"{allocator.spec}, never freed: {left}")


def _left(heap: Heap) -> str:
    """The live blocks, by their usable size; "" where there are none."""
    sizes = sorted(chunk.usable for chunk in heap.walk() if chunk.state == "live")
    if not sizes:
        return ""
    counted = [(len(list(same)), size) for size, same in groupby(sizes)]
    counted.sort(key=lambda pair: -pair[0] * pair[1])
    listed = [f"{count} of {size:,} bytes" for count, size in counted[:SHOWN]]
    more = f" and {len(counted) - SHOWN} more sizes" if len(counted) > SHOWN else ""
    return f"{len(sizes)} block{'s' * (len(sizes) != 1)}, {', '.join(listed)}{more}"
