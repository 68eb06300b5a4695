"""Runs a program under the recorder and waits for the last of its descendants.

What comes of it is one capture for each process image (a process, between two of its execs), which
:mod:`alloclab.trace.importers.capture` reads.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import signal
import stat
import struct
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from alloclab.errors import RecordError
from alloclab.native import built_file, ffi, lib

LIBRARY = "liballoclab-record.so"
_PR_SET_CHILD_SUBREAPER = 36
_INTERPRETERS_MAX = 4  # of scripts that name scripts, as the kernel has it
_ELF = struct.Struct("<4sBB10xHHI8xQ8x6xHH")  # magic, class, data, type, machine, version, phoff, phentsize, phnum
_ELF_64_LITTLE, _ELF_X86_64, _PT_INTERP = (2, 1), 62, 3


@dataclass(frozen=True)
class Capture:
    """One process image's capture and what it says of itself.

    ``image``: how many images the process ``pid`` was before. ``forked``: its heap came from the process ``parent``.
    ``allocator``: the library that answered malloc. ``lost``: events that could not be recorded. ``stopped``: why
    recording stopped early, or "". ``ended``: how the image ended, in words.
    """

    path: Path
    pid: int
    parent: int
    image: int
    forked: bool
    program: str
    command: tuple[str, ...]
    allocator: str
    libc: str
    lost: int
    stopped: str
    ended: str


@dataclass(frozen=True)
class Recording:
    """``status``: the target's exit code, or minus the signal that ended it. ``captures``: by pid and image."""

    status: int
    captures: tuple[Capture, ...]


def record(
    command: Sequence[str], directory: Path, *, children: bool = True, env: Mapping[str, str] | None = None
) -> Recording:
    """Run ``command`` with its captures going to ``directory``; standard input and outputs are the caller's.

    Returns when the last descendant has ended, or on Ctrl-C once the target itself has. While it waits, Ctrl-C is the
    target's, and SIGTERM is passed on. ``children=False`` records the target alone.
    Raises RecordError for what cannot be recorded.
    """
    program = find_program(command[0])
    check_recordable(program)
    environment = dict(os.environ if env is None else env) | {"ALLOCLAB_RECORD_DIR": str(directory.resolve())}
    with _preloadable(built_file(LIBRARY)) as library:
        environment["LD_PRELOAD"] = ":".join(filter(None, [str(library), environment.get("LD_PRELOAD")]))
        with _adopting_orphans(), _signals() as target:
            others = _children()
            target.pid = _start(program, command, environment, children)
            if target.owed:
                os.kill(target.pid, target.owed)
            statuses = _wait(target, others)
    captures = [read_header(path) for path in sorted(directory.glob("*.capture"))]
    return Recording(statuses[target.pid], _endings([c for c in captures if c is not None], statuses))


# --- can it be recorded? ---


def find_program(name: str) -> Path:
    """The file that a shell would run. Raises RecordError where there is none, or it may not be run."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    if "/" not in name or not Path(name).exists():
        where = "no such file" if "/" in name else "no such command on PATH"
        raise RecordError(f"{name}: {where}")
    if Path(name).is_dir():
        raise RecordError(f"{name}: is a folder, expected a program")
    raise RecordError(f"{name}: not executable; chmod +x it, or name the interpreter first")


def check_recordable(program: Path) -> None:
    """Raises RecordError for a program that the loader will not put the recorder into: static, setuid, foreign."""
    for _ in range(_INTERPRETERS_MAX):
        with program.open("rb") as file:
            head = file.read(256)
        if not head.startswith(b"#!"):
            break
        words = head.split(b"\n")[0][2:].split()
        interpreter = Path(os.fsdecode(words[0])) if words else Path()
        if not interpreter.is_file():
            raise RecordError(f"{program}: its interpreter {interpreter} does not exist")
        program = interpreter
    if head.startswith(b"\x7fELF"):
        _check_elf(program, head)
        _check_privileges(program)
    elif not head.startswith(b"#!"):
        raise RecordError(f"{program}: neither an ELF program nor a script with a #! line")


def _check_elf(program: Path, head: bytes) -> None:
    if len(head) < _ELF.size:
        raise RecordError(f"{program}: cut short, expected a program")
    _, bits, order, _, machine, _, offset, size, count = _ELF.unpack_from(head)
    if (bits, order) != _ELF_64_LITTLE or machine != _ELF_X86_64:
        raise RecordError(f"{program}: not a 64-bit x86-64 program; the recorder cannot be loaded into it")
    with program.open("rb") as file:
        file.seek(offset)
        headers = file.read(size * count)
        kinds = {int.from_bytes(headers[i : i + 4], "little"): i for i in range(0, len(headers) - size + 1, size)}
        if _PT_INTERP not in kinds:
            raise RecordError(
                f"{program}: statically linked; the recorder is loaded by the dynamic loader, so link it dynamically"
            )
        start, length = struct.unpack_from("<8xQ16xQ", headers, kinds[_PT_INTERP])
        file.seek(start)
        loader = Path(os.fsdecode(file.read(length).rstrip(b"\0")))
    if not loader.exists():
        raise RecordError(f"{program}: its loader {loader} does not exist")
    if not loader.name.startswith("ld-linux"):
        raise RecordError(f"{program}: runs on {loader}, not on the GNU C library, which the recorder needs")


def _check_privileges(program: Path) -> None:
    found = program.stat()
    gains = (found.st_mode & stat.S_ISUID and found.st_uid != os.getuid()) or (
        found.st_mode & stat.S_ISGID and found.st_gid != os.getgid()
    )
    with contextlib.suppress(OSError):
        gains = gains or (os.getuid() != 0 and bool(os.getxattr(program, "security.capability")))
    if gains:
        raise RecordError(
            f"{program}: setuid, setgid or with capabilities; the loader ignores LD_PRELOAD for it. "
            "Record a copy of it without, or as its owner"
        )


# --- run it ---


@dataclass
class _Target:
    pid: int = 0  # not started yet
    alive: bool = True
    owed: int = 0  # a signal that came before there was anyone to pass it on to


class _OnlyDescendantsError(Exception):
    """Ctrl-C when the target has ended and only its descendants are left: stop waiting."""


@contextlib.contextmanager
def _preloadable(library: Path) -> Iterator[Path]:
    """LD_PRELOAD is split at spaces and colons; a path with one of these gets a link without."""
    if not set(str(library)) & set(" :"):
        yield library
        return
    with tempfile.TemporaryDirectory(prefix="alloclab-") as folder:
        link = Path(folder) / library.name
        if set(str(link)) & set(" :"):
            raise RecordError(f"{library}: LD_PRELOAD allows no space or colon in a path; set TMPDIR to one without")
        link.symlink_to(library)
        yield link


@contextlib.contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Descendants whose parent has gone become children of this process, so that they can be waited for."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@contextlib.contextmanager
def _signals() -> Iterator[_Target]:
    """What a terminal sends to the foreground group is the target's; SIGTERM came to us alone, and is passed on."""
    target = _Target()

    def interrupt(number: int, frame: Any) -> None:
        if not target.alive:
            raise _OnlyDescendantsError

    def pass_on(number: int, frame: Any) -> None:
        if not target.pid:
            target.owed = number
        elif target.alive:
            os.kill(target.pid, number)

    handlers = {signal.SIGINT: interrupt, signal.SIGQUIT: interrupt, signal.SIGTERM: pass_on}
    here = threading.current_thread() is threading.main_thread()
    old = {n: signal.getsignal(n) for n in handlers} if here else {}
    for number, before in old.items():
        if before is not signal.SIG_IGN:
            signal.signal(number, handlers[number])
    try:
        yield target
    finally:
        for number, before in old.items():
            signal.signal(number, before)


def _start(program: Path, command: Sequence[str], environment: dict[str, str], children: bool) -> int:
    """fork and exec; an exec that fails comes back through a pipe as its errno."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(program, command, environment, children, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        failed = pipe.read()
    if failed:
        os.waitpid(pid, 0)
        raise RecordError(f"{program}: cannot be run: {os.strerror(int(failed))}")
    return pid


def _become(
    program: Path, command: Sequence[str], environment: dict[str, str], children: bool, report: int
) -> NoReturn:
    try:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):  # ours until the exec
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        if not children:
            environment = environment | {"ALLOCLAB_RECORD_ONLY": str(os.getpid())}
        os.execve(program, list(command), environment)
    except OSError as error:
        os.write(report, str(error.errno or errno.EIO).encode())
    finally:
        os._exit(127)


def _children() -> set[int]:
    """The processes that this one may wait for; of a descendant, once its own parent has gone."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(pid) for task in lists for pid in task.read_text().split()}


def _wait(target: _Target, others: set[int]) -> dict[int, int]:
    """Exit codes, or minus the signals, of the target and of the orphans it leaves, but not of ``others``."""
    statuses: dict[int, int] = {}

    def wait_for(pid: int) -> None:
        statuses[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    with contextlib.suppress(_OnlyDescendantsError):
        wait_for(target.pid)
        target.alive = False
        while orphans := _children() - others:
            wait_for(min(orphans))
    return statuses


# --- what it left ---


def read_header(path: Path) -> Capture | None:
    """What a capture says of its image; None for a file that the recorder could not even begin."""
    header = ffi.new("al_capture_header *")
    with path.open("rb") as file:
        if not lib.al_capture_read_header(file.fileno(), header):
            return None
    command = bytes(ffi.buffer(header.command, header.command_bytes))
    return Capture(
        path=path,
        pid=header.pid,
        parent=header.parent,
        image=header.image,
        forked=bool(header.forked),
        program=os.fsdecode(ffi.string(header.program)),
        command=tuple(os.fsdecode(word) for word in command.split(b"\0")[:-1]),
        allocator=os.fsdecode(ffi.string(header.allocator)),
        libc=ffi.string(header.libc).decode(),
        lost=header.lost,
        stopped=os.strerror(header.stopped) if header.stopped else "",
        ended="exit" if header.end_ns else "",
    )


def _endings(captures: list[Capture], statuses: dict[int, int]) -> tuple[Capture, ...]:
    """Says how each image ended, as far as anyone knows."""
    captures = sorted(captures, key=lambda c: (c.pid, c.image))
    last = {c.pid: c.image for c in captures}

    def ended(capture: Capture) -> str:
        if capture.image != last[capture.pid]:
            return "exec"
        if capture.pid in statuses:
            status = statuses[capture.pid]
            return f"exit {status}" if status >= 0 else f"signal {-status}"
        return capture.ended or "killed or _exit"

    return tuple(replace(capture, ended=ended(capture)) for capture in captures)
