"""Which allocators there are, and what a spec such as ``fit:policy=first`` or ``libjemalloc`` stands for."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from alloclab.errors import UsageError
from alloclab.machine import libc_file
from alloclab.native import built_file, ffi, lib

Kind = Literal["lab", "system", "library", "null"]
TUNABLE_TYPES = {
    lib.AL_TUNABLE_BYTES: "bytes",
    lib.AL_TUNABLE_COUNT: "count",
    lib.AL_TUNABLE_BOOL: "bool",
    lib.AL_TUNABLE_CHOICE: "choice",
    lib.AL_TUNABLE_INTEGER: "integer",
    lib.AL_TUNABLE_TEXT: "text",
}
REFERENCE_LIBRARIES = ("libjemalloc", "libtcmalloc_minimal", "libtcmalloc", "libmimalloc")
"""Short names that :func:`libraries_found` looks for."""


@dataclass(frozen=True)
class Tunable:
    """A setting of a lab allocator. ``default`` is text that the setting takes; ``range`` names what else it takes."""

    name: str
    type: str
    default: str
    range: str
    help: str
    real_name: str | None


@dataclass(frozen=True)
class LabAllocator:
    """An allocator built here."""

    name: str
    summary: str
    tunables: tuple[Tunable, ...]
    scattered_from: int
    """Blocks of so many usable bytes begin at a random place in their first page; 0: none do."""
    views: tuple[str, ...]
    """The names of its own tables, for :meth:`alloclab.Heap.view`."""

    @property
    def library(self) -> Path:
        """Its drop-in library, for LD_PRELOAD."""
        return built_file(f"liballoclab-{self.name}.so")


@dataclass(frozen=True)
class Allocator:
    """What a spec stands for.

    ``spec`` is its canonical form: tunables in the allocator's own order, sizes in the largest unit that divides them,
    foreign variables at the end. ``preload`` is None for the system's malloc and for the replay loop's null allocator.
    ``options`` is what a lab allocator reads from ALLOCLAB_OPTIONS; ``env`` holds a foreign library's own variables.
    ``beside``: libraries that are loaded after it, for what they allocate as they start.
    """

    spec: str
    kind: Kind
    name: str
    preload: Path | None = None
    options: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        """The variables that make a program run on it."""
        variables = dict(self.env)
        if self.beside or self.preload:  # where others come beside libc, its malloc must still be found first
            variables["LD_PRELOAD"] = ":".join([str(self.preload or LIBC), *self.beside])
        if self.kind == "lab":
            variables["ALLOCLAB_OPTIONS"] = self.options
        return variables

    def tunables(self) -> dict[str, Any]:
        """``options`` by name, as :class:`alloclab.heap.Heap` takes them."""
        return dict(setting.split("=", 1) for setting in filter(None, self.options.split(",")))


LIBC = "libc.so.6"

_UNITS = ("", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def format_bytes(value: int) -> str:
    """Exact: ``65536`` is ``64KiB``, ``1000`` stays ``1000``."""
    unit = 0
    while unit < len(_UNITS) - 1 and value and value % 1024 == 0:
        value //= 1024
        unit += 1
    return f"{value}{_UNITS[unit]}"


def parse_bytes(text: str) -> int:
    """What :func:`format_bytes` writes. UsageError for anything else, and for what no address space holds."""
    found = re.fullmatch(rf"(\d{{1,19}})({'|'.join(_UNITS)})", text, re.ASCII)
    value = int(found[1]) * 1024 ** _UNITS.index(found[2]) if found else 2**63
    if value >= 2**63:
        raise UsageError(f"found {text!r}, expected a size below 8 EiB such as 65536 or 64KiB")
    return value


def _text(pointer: Any) -> str:
    return bytes(ffi.string(pointer)).decode()


def _format_value(tunable: Any, value: int) -> str:
    if tunable.type == lib.AL_TUNABLE_CHOICE:
        return _text(tunable.choices).split("|")[value]
    if tunable.type == lib.AL_TUNABLE_BOOL:
        return "true" if value else "false"
    if tunable.type == lib.AL_TUNABLE_INTEGER:
        return str(value - (value >> 63 << 64))
    return format_bytes(value) if tunable.type == lib.AL_TUNABLE_BYTES else str(value)


def _setting(tunable: Any, settings: Any, i: int) -> str:
    if tunable.type == lib.AL_TUNABLE_TEXT:
        return _text(settings.texts + settings.values[i])
    return _format_value(tunable, settings.values[i])


def say_setting(allocator: str, tunable: str, value: str) -> str:
    """A tunable's value as a spec has it, from the number that the core keeps, or from a text as it is."""
    c = lib.al_allocator_find(allocator.encode())
    known = {_text(c.tunables[i].name): c.tunables[i] for i in range(c.tunable_count)}
    chosen = known[tunable]
    return value if chosen.type == lib.AL_TUNABLE_TEXT else _format_value(chosen, int(value))


def _range(c: Any) -> str:
    if c.type == lib.AL_TUNABLE_BOOL:
        return "true|false"
    if c.choices != ffi.NULL:
        return _text(c.choices)
    least = _format_value(c, c.least)
    unbounded = c.most == 2**64 - 1 and c.type != lib.AL_TUNABLE_INTEGER
    return f"{least} or more" if unbounded else f"{least} .. {_format_value(c, c.most)}"


def _tunable(c: Any) -> Tunable:
    real_name = None if c.real_name == ffi.NULL else _text(c.real_name)
    default = "" if c.type == lib.AL_TUNABLE_TEXT else _format_value(c, c.value)
    return Tunable(_text(c.name), TUNABLE_TYPES[c.type], default, _range(c), _text(c.help), real_name)


def _views(c: Any) -> Iterator[str]:
    names = c.views
    while names != ffi.NULL and names[0] != ffi.NULL:
        yield _text(names[0])
        names += 1


@cache
def lab_allocators() -> tuple[LabAllocator, ...]:
    """All that were built, in the order of allocators.def."""
    found: list[LabAllocator] = []
    while (c := lib.al_allocators[len(found)]) != ffi.NULL:
        tunables = tuple(_tunable(c.tunables[i]) for i in range(c.tunable_count))
        found.append(LabAllocator(_text(c.name), _text(c.summary), tunables, c.scattered_from, tuple(_views(c))))
    return tuple(found)


def parse_tunables(name: str, text: str) -> tuple[Any, str]:
    """The ``al_settings *`` that ``text`` gives lab allocator ``name``, and the canonical text.

    UsageError: an unknown tunable, or a value out of its range; the message lists what exists.
    """
    allocator = lib.al_allocator_find(name.encode())
    settings, message = ffi.new("al_settings *"), ffi.new("char[512]")
    lib.al_tunables_default(allocator, settings)
    if lib.al_tunables_parse(allocator, text.encode(), settings, message, len(message)) != 0:
        raise UsageError(_text(message))
    given = [i for i in range(allocator.tunable_count) if settings.given >> i & 1]
    tunables = allocator.tunables
    canonical = [f"{_text(tunables[i].name)}={_setting(tunables[i], settings, i)}" for i in given]
    return settings, ",".join(canonical)


def lab_allocator(name: str) -> LabAllocator:
    """The lab allocator of that name. UsageError lists those that exist."""
    known = {lab.name: lab for lab in lab_allocators()}
    if name not in known:
        raise UsageError(f"unknown lab allocator {name!r}: there is {', '.join(known)}")
    return known[name]


# --- libraries ---


@cache
def _loader_cache() -> dict[str, Path]:
    """File name to path, as ``ldconfig -p`` says."""
    program = shutil.which("ldconfig", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if program is None:
        return {}
    listed = subprocess.run([program, "-p"], capture_output=True, text=True, check=False).stdout
    lines = (line.strip().partition(" => ") for line in listed.splitlines() if "x86-64" in line)
    return {left.split(" ")[0]: Path(path) for left, _, path in reversed(list(lines)) if path}


def _search(short: str) -> Path | None:
    """The library that the loader would find for ``libNAME``, whatever its version."""
    for folder in filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")):
        hits = [p for p in sorted(Path(folder).glob(f"{short}.so*")) if p.is_file()]
        if hits:
            return hits[0]
    names = sorted(name for name in _loader_cache() if name == f"{short}.so" or name.startswith(f"{short}.so."))
    return _loader_cache()[names[0]] if names else None


def libraries_found() -> list[str]:
    """Short names of the reference libraries that the loader finds here."""
    return [name for name in REFERENCE_LIBRARIES if _search(name) is not None]


def _sections(image: bytes) -> list[tuple[int, ...]]:
    """Section headers of a 64-bit little-endian ELF image."""
    table, entry_size, entries = (struct.unpack_from("<Q", image, 40)[0], *struct.unpack_from("<HH", image, 58))
    return [struct.unpack_from("<IIQQQQIIQQ", image, table + i * entry_size) for i in range(entries)]


def _defined_symbols(image: bytes) -> set[str]:
    """Dynamic symbols that a 64-bit little-endian ELF image defines."""
    sections = _sections(image)
    names: set[str] = set()
    for section in sections:
        if section[1] != 11:  # SHT_DYNSYM
            continue
        strings = sections[section[6]][4]
        for at in range(section[4], section[4] + section[5], 24):
            name, _, _, home = struct.unpack_from("<IBBH", image, at)
            if home != 0:  # SHN_UNDEF
                names.add(image[strings + name : image.index(b"\0", strings + name)].decode(errors="replace"))
    return names


def libraries_needed(path: Path) -> list[str]:
    """File names of the libraries that a shared library of this machine names as needed, without libc and its loader.

    UsageError where its tables are damaged.
    """
    image = path.read_bytes()
    try:
        names = [image[at : image.index(b"\0", at)].decode() for at in _needed(image)]
    except (struct.error, IndexError, ValueError):
        raise UsageError(f"{path}: its ELF tables are damaged") from None
    return [name for name in names if not name.startswith(("libc.so", "ld-linux"))]


def _needed(image: bytes) -> list[int]:
    """Where the names lie in the image."""
    sections = _sections(image)
    found = []
    for section in sections:
        if section[1] != 6:  # SHT_DYNAMIC
            continue
        entries = struct.iter_unpack("<QQ", image[section[4] : section[4] + section[5]])
        found += [sections[section[6]][4] + value for tag, value in entries if tag == 1]  # DT_NEEDED
    return found


def _check_preloadable(path: Path) -> None:
    """UsageError where the loader would pass over the library and leave the program on the system's malloc."""
    if not path.is_file():
        raise UsageError(f"{path}: no such library")
    if any(c in str(path) for c in ": "):
        raise UsageError(f"{path}: LD_PRELOAD takes no path with a space or a colon; copy or link it elsewhere")


def _check_library(path: Path) -> None:
    """UsageError unless this is a shared library for this machine that defines malloc."""
    _check_preloadable(path)
    image = path.read_bytes()
    if image[:4] != b"\x7fELF":
        raise UsageError(f"{path}: not a shared library (no ELF header)")
    if len(image) < 64 or image[4:6] != b"\x02\x01" or struct.unpack_from("<HH", image, 16) != (3, 62):
        raise UsageError(f"{path}: not a shared library for this machine (64-bit x86)")
    try:
        symbols = _defined_symbols(image)
    except (struct.error, IndexError, ValueError):
        raise UsageError(f"{path}: its ELF tables are damaged") from None
    if "malloc" not in symbols:
        raise UsageError(f"{path}: not a malloc (it defines no symbol of that name)")


# --- specs ---


def _resolve_lab(name: str, options: str, env: Mapping[str, str]) -> Allocator:
    _, canonical = parse_tunables(name, options)
    spec = f"{name}:{canonical}" if canonical else name
    library = lab_allocator(name).library
    _check_preloadable(library)
    return Allocator(spec, "lab", name, library, canonical, env)


def _resolve_library(spec: str, env: Mapping[str, str]) -> Allocator:
    found = Path(spec) if "/" in spec or Path(spec).is_file() else _search(spec)
    if found is None:
        known = ["system", *(lab.name for lab in lab_allocators()), *libraries_found()]
        raise UsageError(f"unknown allocator {spec!r}: there is {', '.join(known)}, or the path of a library")
    path = found.absolute()
    _check_library(path)
    return Allocator(spec, "library", path.name.partition(".so")[0], path, env=env)


def _is_system(spec: str) -> bool:
    """Also by the names of the libc that programs here have anyway: preloaded, it would be the same malloc."""
    if spec in ("system", "libc", LIBC):
        return True
    libc = libc_file()
    return libc is not None and Path(spec).is_file() and libc.samefile(spec)


def _resolve_plain(spec: str, env: Mapping[str, str]) -> Allocator:
    name, colon, options = spec.partition(":")
    if name in {lab.name for lab in lab_allocators()}:
        return _resolve_lab(name, options, env)
    if colon and "/" not in name:
        raise UsageError(
            f"{spec}: only the laboratory's own allocators take tunables; a library's variables go in --env"
        )
    if _is_system(spec):
        return Allocator("system", "system", "system", env=env)
    if spec == "null":
        return Allocator(spec, "null", spec, env=env)
    return _resolve_library(spec, env)


def resolve(spec: str, env: Mapping[str, str] | None = None) -> Allocator:
    """What ``spec`` stands for: a lab allocator, perhaps with ``:tunable=value,...``; ``system``, also called ``libc``;
    ``null``, the replay loop's own; a library's short name that the loader finds; or a library's path.

    ``env`` are a foreign library's variables. UsageError says what is wrong and lists what exists.
    """
    variables = dict(env or {})
    plain = _resolve_plain(spec, variables)
    if not variables:
        return plain
    suffix = " ".join(f"{name}={value}" for name, value in variables.items())
    return Allocator(f"{plain.spec} {suffix}", plain.kind, plain.name, plain.preload, plain.options, variables)
