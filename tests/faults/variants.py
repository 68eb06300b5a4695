"""Variants of the C core, each with one fault: an edit of one source, compiled beside the objects of the last build.

Only what includes the edited file is compiled again; the rest is taken as the build left it.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from support import ROOT

BUILD = ROOT / "build/native"
_ARCHIVE = "csrc/liballoclab_core.a"
_EXTENSION = "alloclab/_core" + sysconfig.get_config_var("EXT_SUFFIX")
_NINJA = Path(sys.executable).with_name("ninja")
_OUTPUTS = {"-o", "-MF", "-MQ"}
_LEFT_OUT = {"-Werror", "-MD"}  # an edit may leave something unused


@dataclass(frozen=True)
class Fault:
    """``old``, which is in ``file`` exactly once, becomes ``new``: ``why`` says what is wrong then. ``spec``: the
    allocator that is examined, and how it is set. Who catches it: the search that looks into the heap, and the search
    on the drop-in library, each by one of these rules; and which of the rules that are tried one by one. Empty: it
    need not be seen there. ``tries``: how often that rule is tried at most, where it sees a fault only if threads meet
    at the wrong moment."""

    name: str
    spec: str
    file: str
    old: str
    new: str
    why: str
    heap: tuple[str, ...] = ()
    drop_in: tuple[str, ...] = ()
    rule: str = ""
    tries: int = 1

    @property
    def allocator(self) -> str:
        return self.spec.partition(":")[0]


def edited(fault: Fault) -> str:
    """The source with the fault in it."""
    text = (ROOT / "csrc" / fault.file).read_text()
    found = text.count(fault.old)
    assert found == 1, f"{fault.name}: its text is {found} times in {fault.file}: write the fault anew"
    return text.replace(fault.old, fault.new)


def build(fault: Fault, folder: Path, way: str) -> Path:
    """In a folder of its own: the extension module for a look into its "heap", or the "drop-in" library. Where old and
    new are the same, it is what the laboratory is."""
    target = _EXTENSION if way == "heap" else f"csrc/liballoclab-{fault.allocator}.so"
    overlay = folder / "csrc"
    source = overlay / fault.file
    source.parent.mkdir(parents=True)
    source.write_text(edited(fault))
    made: dict[str, Path] = {}
    for output in _affected(fault.file):
        if output.startswith((f"{_ARCHIVE}.p/", f"{target}.p/")):
            made[output] = folder / output.replace("/", "_")
            _compile(output, fault.file, overlay, made[output])
    return _link(target, made, folder)


@cache
def _commands() -> dict[str, list[str]]:
    """How each object was compiled."""
    entries = json.loads((BUILD / "compile_commands.json").read_text())
    return {entry["output"]: shlex.split(entry["command"]) for entry in entries}


@cache
def _dependencies() -> dict[str, frozenset[str]]:
    """The files that each object was made of."""
    paragraphs = (paragraph.splitlines() for paragraph in _ninja("-t", "deps").split("\n\n") if paragraph.strip())
    return {lines[0].partition(":")[0]: frozenset(line.strip() for line in lines[1:]) for lines in paragraphs}


def _affected(file: str) -> list[str]:
    return [output for output, files in _dependencies().items() if f"../../csrc/{file}" in files]


def _compile(output: str, file: str, overlay: Path, made: Path) -> None:
    compiler, *words = _commands()[output]
    kept = [
        str(overlay / file) if word == f"../../csrc/{file}" else word
        for before, word in zip(["", *words], words, strict=False)
        if word not in _OUTPUTS | _LEFT_OUT and before not in _OUTPUTS
    ]
    subprocess.run([compiler, f"-I{overlay}", *kept, "-w", "-o", made], cwd=BUILD, check=True)


def _archive(made: dict[str, Path], folder: Path) -> Path:
    """The core, of which the linker takes what it needs; it names its members, and has none itself."""
    archive = folder / Path(_ARCHIVE).name
    members = [made.get(output, BUILD / output) for output in _commands() if output.startswith(f"{_ARCHIVE}.p/")]
    subprocess.run(["ar", "rcsT", archive, *members], cwd=BUILD, check=True)
    return archive


def _link(target: str, made: dict[str, Path], folder: Path) -> Path:
    """As the build does, with the new objects in the place of the old."""
    linked = folder / Path(target).name
    replaced = {**made, _ARCHIVE: _archive(made, folder), target: linked}
    command = [str(replaced.get(word, word)) for word in _link_command(target)]
    subprocess.run(command, cwd=BUILD, check=True)
    return linked


@cache
def _link_command(target: str) -> list[str]:
    return shlex.split(_ninja("-t", "commands", "-s", target))


def _ninja(*words: str) -> str:
    return subprocess.run([_NINJA, "-C", BUILD, *words], capture_output=True, text=True, check=True).stdout
