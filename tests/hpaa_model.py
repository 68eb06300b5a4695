"""The front of tcmalloc-hpaa once more, as its rules are written down: a CPU's stacks, transfer caches, spans by
occupancy. An object is (span, number in it), spans are numbered as they are made; where pages lie is not its affair."""

from __future__ import annotations

from dataclasses import dataclass, field

PAGE = 8192
RECENT = 12
"""Freed objects that a span of small ones remembers itself."""

Object = tuple[int, int]

CLASSES = (
    *(8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 176, 208, 256, 304, 368, 448, 512, 576, 704, 896, 1024, 1152, 1408),
    *(1792, 2048, 2304, 2688, 3456, 4096, 4736, 6144, 8192, 9472, 12288, 16384, 20480, 28672, 32768, 40960, 49152),
    *(65536, 73728, 81920, 98304, 131072, 155648, 204800, 262144),
)
"""T1, measured."""


def number(size: int) -> int:
    """The class that serves a request."""
    return next(i for i, most in enumerate(CLASSES, 1) if i > 1 and most >= size)


def one(rows: list[dict[str, int | bool | str]], **where: int) -> dict[str, int]:
    [row] = [r for r in rows if all(r[column] == value for column, value in where.items())]
    return {name: int(value) for name, value in row.items() if not isinstance(value, str)}


@dataclass(frozen=True)
class Shape:
    bytes: int
    pages: int
    batch: int
    depth: int
    """Objects that a CPU's stack may hold."""

    @property
    def objects(self) -> int:
        return self.pages * PAGE // self.bytes


@dataclass
class Span:
    number: int
    shape: Shape
    out: int = 0
    free: set[int] = field(default_factory=set)
    """Of objects with a bitmap."""
    fresh: int = 0
    recent: list[int] = field(default_factory=list)
    holders: list[list[int]] = field(default_factory=list)
    """Small objects: each holder, the first one last, and the others that are written into it."""

    def __post_init__(self) -> None:
        if self.shape.bytes >= 48:
            self.free = set(range(self.shape.objects))

    def take(self) -> int:
        self.out += 1
        if self.shape.bytes >= 48:
            lowest = min(self.free)
            self.free.remove(lowest)
            return lowest
        if self.recent:
            return self.recent.pop()
        if not self.holders:
            self.fresh += 1
            return self.fresh - 1
        number = self.holders[-1].pop()
        if not self.holders[-1]:
            self.holders.pop()
        return number

    def give(self, number: int) -> None:
        self.out -= 1
        if self.shape.bytes >= 48:
            self.free.add(number)
        elif len(self.recent) < RECENT:
            self.recent.append(number)
        elif self.holders and len(self.holders[-1]) < self.shape.bytes // 2:
            self.holders[-1].append(number)
        else:
            self.holders.append([number])

    def list(self) -> int | None:
        """None: it has no object to give."""
        if self.out == self.shape.objects:
            return None
        return 8 - min(self.out if self.shape.objects <= 16 else self.out.bit_length(), 8)


class Class:
    """What CPUs share of a class."""

    def __init__(self, model: Model, shape: Shape) -> None:
        self.model, self.shape = model, shape
        most = shape.batch * min(64, max(1, (1 << 20) // (shape.batch * shape.bytes)))
        self.room = min(most, 16 * shape.batch)
        self.transfer: list[Object] = []
        self.lists: list[list[Span]] = [[] for _ in range(8)]
        """Of each the one that is taken from first is last."""
        self.spans: dict[int, Span] = {}

    def move(self, span: Span, before: int | None) -> None:
        if span.list() == before:
            return
        if before is not None:
            self.lists[before].remove(span)
        if (now := span.list()) is not None:
            self.lists[now].append(span)

    def take(self, count: int) -> list[Object]:
        cached = min(count, len(self.transfer))
        taken = self.transfer[len(self.transfer) - cached :]
        del self.transfer[len(self.transfer) - cached :]
        made = False
        while len(taken) < count and not made:
            span = next((spans[-1] for spans in self.lists if spans), None)
            if made := span is None:
                span = Span(self.model.spans, self.shape)
                self.model.spans += 1
                self.spans[span.number] = span
                self.lists[0].append(span)
            assert span is not None
            before = 0 if made else span.list()
            while len(taken) < count and span.out < self.shape.objects:
                taken.append((span.number, span.take()))
            self.move(span, before)
        return taken

    def give(self, objects: list[Object]) -> None:
        kept = min(len(objects), self.room - len(self.transfer))
        self.transfer += objects[:kept]
        for number, index in objects[kept:]:
            span = self.spans[number]
            before = span.list()
            span.give(index)
            if span.out:
                self.move(span, before)
                continue
            if before is not None:
                self.lists[before].remove(span)
            del self.spans[number]


@dataclass
class Stack:
    shape: Shape
    capacity: int = 0
    objects: list[Object] = field(default_factory=list)
    last: str = ""
    successive: int = 0
    missed: bool = False


class Cpu:
    def __init__(self, model: Model, budget: int) -> None:
        self.model, self.budget = model, budget
        self.stacks = [Stack(shape) for shape in model.shapes]
        self.steal_next = -1

    def spare(self) -> int:
        return self.budget - sum(s.capacity * s.shape.bytes for s in self.stacks)

    def steal(self, thief: int, wanted: int) -> None:
        """Room that is not used, then objects; of classes without a miss since the last theft, in turn."""
        for objects_too in (False, True):
            for _ in self.stacks:
                if self.spare() >= wanted:
                    break
                self.steal_next = (self.steal_next + 1) % len(self.stacks)
                stack = self.stacks[self.steal_next]
                if self.steal_next == thief or stack.missed:
                    continue
                lacking = -(-(wanted - self.spare()) // stack.shape.bytes)
                unused = stack.capacity - len(stack.objects)
                stolen = min(lacking, stack.capacity if objects_too else unused)
                if stolen > unused:
                    self.model.classes[self.steal_next].give(stack.objects[: stolen - unused])
                    del stack.objects[: stolen - unused]
                stack.capacity -= stolen
        for stack in self.stacks:
            stack.missed = False

    def miss(self, number: int, kind: str) -> int:
        stack = self.stacks[number]
        shape, turned = stack.shape, (stack.last, kind) == ("overflow", "underflow")
        stack.successive = stack.successive + 1 if stack.last == kind else 0
        stack.last, stack.missed = kind, True
        more = 0
        if turned:
            more = shape.batch
        elif stack.capacity < 2 * shape.batch:
            more = max(1, shape.batch - stack.capacity) if kind == "underflow" else 1
        more = min(more, shape.depth - stack.capacity)
        if more * shape.bytes > self.spare():
            self.steal(number, more * shape.bytes)
        stack.capacity += min(more, self.spare() // shape.bytes)
        if stack.capacity == 1:
            return 1
        return min((stack.capacity + 1) // 2 + 1, shape.batch << min(stack.successive, 10))

    def malloc(self, number: int) -> Object:
        stack = self.stacks[number]
        if not stack.objects:
            came = self.model.classes[number].take(self.miss(number, "underflow"))
            stack.objects = came[-2::-1]
            return came[-1]
        return stack.objects.pop()

    def free(self, number: int, block: Object) -> None:
        stack = self.stacks[number]
        if len(stack.objects) < stack.capacity:
            stack.objects.append(block)
            return
        leave = min(self.miss(number, "overflow") - 1, len(stack.objects))
        stack.objects.append(block)
        go = stack.objects[len(stack.objects) - leave - 1 :]
        del stack.objects[len(stack.objects) - leave - 1 :]
        self.model.classes[number].give(go)


class Model:
    def __init__(self, shapes: list[Shape], cpus: int, budget: int) -> None:
        self.shapes = shapes
        self.spans = 0
        self.classes = [Class(self, shape) for shape in shapes]
        self.cpus = [Cpu(self, budget) for _ in range(cpus)]
