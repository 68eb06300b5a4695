"""Runs a program with a library preloaded, waits for the last of its descendants, and says how each ended."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import signal
import stat
import struct
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from alloclab.errors import LaunchError

if TYPE_CHECKING:
    from alloclab.allocators import Allocator

_PR_SET_CHILD_SUBREAPER = 36
_INTERPRETERS_MAX = 4  # of scripts that name scripts, as the kernel has it
_ELF = struct.Struct("<4sBB10xHHI8xQ8x6xHH")  # magic, class, data, type, machine, version, phoff, phentsize, phnum
_ELF_64_LITTLE, _ELF_X86_64, _PT_INTERP = (2, 1), 62, 3


# --- can a library be preloaded into it? ---


def find_program(name: str) -> Path:
    """The file that a shell would run. Raises LaunchError where there is none, or it may not be run."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    if "/" not in name or not Path(name).exists():
        where = "no such file" if "/" in name else "no such command on PATH"
        raise LaunchError(f"{name}: {where}")
    if Path(name).is_dir():
        raise LaunchError(f"{name}: is a folder, expected a program")
    raise LaunchError(f"{name}: not executable; chmod +x it, or name the interpreter first")


def check_preloadable(program: Path) -> None:
    """Raises LaunchError for a program that the loader will not put a library into: static, setuid, foreign."""
    for _ in range(_INTERPRETERS_MAX):
        with program.open("rb") as file:
            head = file.read(256)
        if not head.startswith(b"#!"):
            break
        words = head.split(b"\n")[0][2:].split()
        interpreter = Path(os.fsdecode(words[0])) if words else Path()
        if not interpreter.is_file():
            raise LaunchError(f"{program}: its interpreter {interpreter} does not exist")
        program = interpreter
    if head.startswith(b"\x7fELF"):
        _check_elf(program, head)
        _check_privileges(program)
    elif not head.startswith(b"#!"):
        raise LaunchError(f"{program}: neither an ELF program nor a script with a #! line")


def _check_elf(program: Path, head: bytes) -> None:
    if len(head) < _ELF.size:
        raise LaunchError(f"{program}: cut short, expected a program")
    _, bits, order, _, machine, _, offset, size, count = _ELF.unpack_from(head)
    if (bits, order) != _ELF_64_LITTLE or machine != _ELF_X86_64:
        raise LaunchError(f"{program}: not a 64-bit x86-64 program; no library of ours can be loaded into it")
    with program.open("rb") as file:
        file.seek(offset)
        headers = file.read(size * count)
        kinds = {int.from_bytes(headers[i : i + 4], "little"): i for i in range(0, len(headers) - size + 1, size)}
        if _PT_INTERP not in kinds:
            raise LaunchError(
                f"{program}: statically linked; libraries are preloaded by the dynamic loader, so link it dynamically"
            )
        start, length = struct.unpack_from("<8xQ16xQ", headers, kinds[_PT_INTERP])
        file.seek(start)
        loader = Path(os.fsdecode(file.read(length).rstrip(b"\0")))
    if not loader.exists():
        raise LaunchError(f"{program}: its loader {loader} does not exist")
    if not loader.name.startswith("ld-linux"):
        raise LaunchError(f"{program}: runs on {loader}, not on the GNU C library, which is needed")


def _check_privileges(program: Path) -> None:
    found = program.stat()
    gains = (found.st_mode & stat.S_ISUID and found.st_uid != os.getuid()) or (
        found.st_mode & stat.S_ISGID and found.st_gid != os.getgid()
    )
    with contextlib.suppress(OSError):
        gains = gains or (os.getuid() != 0 and bool(os.getxattr(program, "security.capability")))
    if gains:
        raise LaunchError(
            f"{program}: setuid, setgid or with capabilities; the loader ignores LD_PRELOAD for it. "
            "Run a copy of it without, or as its owner"
        )


# --- run it ---


def bare_environment(allocator: Allocator) -> dict[str, str]:
    """Nothing of this process's environment but LD_LIBRARY_PATH: the allocator's spec alone says what steers it."""
    inherited = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {**inherited, "LC_ALL": "C", **allocator.environment()}


@contextlib.contextmanager
def passed_on(file: int) -> Iterator[int]:
    """A duplicate of a file descriptor to start a process with (pass_fds), never one of the three standard ones: those
    are free where they were closed, and the process has others there."""
    own = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 3)
    try:
        yield own
    finally:
        os.close(own)


def last_line(stderr: bytes) -> str:
    """What a process said last, often why it died."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


@dataclass(frozen=True)
class Launched:
    """``statuses``: exit codes, or minus the signals, by pid: of ``target``, and of the orphans it left."""

    target: int
    statuses: Mapping[int, int]

    @property
    def status(self) -> int:
        return self.statuses[self.target]

    @property
    def exit_code(self) -> int:
        """As a shell has it: 128 + n where signal n ended the target."""
        return self.status if self.status >= 0 else 128 - self.status


def launch(
    program: Path, command: Sequence[str], environment: Mapping[str, str], *, pid_in: str = "", orphans: bool = True
) -> Launched:
    """Run a program that :func:`find_program` found; standard input and outputs are the caller's.

    Returns when the target has ended; with ``orphans``, when its last descendant has, or on Ctrl-C or SIGTERM once the
    target has. Until then Ctrl-C is the target's, and SIGTERM is passed on. ``pid_in`` names a variable that tells the
    target its own pid. Raises LaunchError where the system will not run it.
    """
    with _adopting_orphans() if orphans else contextlib.nullcontext(), _signals() as target:
        others = _children()
        target.pid = _start(program, command, environment, pid_in)
        if target.owed:
            os.kill(target.pid, target.owed)
        return Launched(target.pid, _wait(target, others, orphans))


@dataclass
class _Target:
    pid: int = 0  # not started yet
    alive: bool = True
    owed: int = 0  # a signal that came before there was anyone to pass it on to
    over: bool = False  # wait for no descendant, or no longer


class _OnlyDescendantsError(Exception):
    """Asked to end when the target has and only its descendants are left: stop waiting."""


@contextlib.contextmanager
def preloadable(library: Path) -> Iterator[Path]:
    """LD_PRELOAD is split at spaces and colons; a path with one of these gets a link without."""
    if not set(str(library)) & set(" :"):
        yield library
        return
    with tempfile.TemporaryDirectory(prefix="alloclab-") as folder:
        link = Path(folder) / library.name
        if set(str(link)) & set(" :"):
            raise LaunchError(f"{library}: LD_PRELOAD allows no space or colon in a path; set TMPDIR to one without")
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
        if not target.alive and not target.over:
            target.over = True
            raise _OnlyDescendantsError

    def pass_on(number: int, frame: Any) -> None:
        if not target.alive:
            interrupt(number, frame)
        elif not target.pid:
            target.owed = number
        else:
            try:
                os.kill(target.pid, number)
            except ProcessLookupError:  # it has just been waited for
                target.over = True

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


def _start(program: Path, command: Sequence[str], environment: Mapping[str, str], pid_in: str) -> int:
    """fork and exec; an exec that fails comes back through a pipe as its errno."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(program, command, environment, pid_in, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        failed = pipe.read()
    if failed:
        os.waitpid(pid, 0)
        raise LaunchError(f"{program}: cannot be run: {os.strerror(int(failed))}")
    return pid


def _become(
    program: Path, command: Sequence[str], environment: Mapping[str, str], pid_in: str, report: int
) -> NoReturn:
    try:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):  # ours until the exec
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        own = {pid_in: str(os.getpid())} if pid_in else {}
        os.execve(program, list(command), {**environment, **own})
    except OSError as error:
        os.write(report, str(error.errno or errno.EIO).encode())
    finally:
        os._exit(127)


def _children() -> set[int]:
    """The processes that this one may wait for; of a descendant, once its own parent has gone."""
    found: set[int] = set()
    for thread in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            found.update(map(int, thread.read_text().split()))
    return found


def _wait(target: _Target, others: set[int], orphans: bool) -> dict[int, int]:
    """Exit codes, or minus the signals, of the target and of the orphans it leaves, but not of ``others``."""
    statuses: dict[int, int] = {}

    def wait_for(pid: int) -> None:
        statuses[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    with contextlib.suppress(_OnlyDescendantsError):
        wait_for(target.pid)
        target.alive = False
        while orphans and not target.over and (left := _children() - others):
            wait_for(min(left))
        target.over = True
    return statuses


# --- what became of it ---


@dataclass(frozen=True)
class Image:
    """A process image, the program that a process is between two of its execs: ``number`` counts those before it.

    ``said``: how it ended in its own words, "" where it did not come to its exit handlers.
    """

    pid: int
    number: int
    said: str


def endings(images: Sequence[Image], statuses: Mapping[int, int]) -> dict[Image, str]:
    """How each image ended, as far as anyone knows: ``exec``, ``exit 1``, ``signal 9``, or what can be told."""
    last: dict[int, int] = {}
    for image in images:
        last[image.pid] = max(image.number, last.get(image.pid, 0))

    def ended(image: Image) -> str:
        if image.number != last[image.pid]:
            return "exec"
        if image.pid in statuses:
            status = statuses[image.pid]
            return f"exit {status}" if status >= 0 else f"signal {-status}"
        return image.said or "killed or _exit"

    return {image: ended(image) for image in images}
