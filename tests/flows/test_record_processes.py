"""Every process image has a trace of its own, however it came about."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from recorded import BEGIN, END, Image, build, run

from alloclab.trace.model import Op

pytestmark = pytest.mark.slow
HEAD = """
#include <sched.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <pthread.h>
extern char **environ;
static void *volatile kept;
"""
PARENT, CHILD = 7001, 7002


def one_with(images: list[Image], size: int) -> Image:
    [found] = [image for image in images if image.count(Op.MALLOC, size)]
    return found


@pytest.mark.parametrize("call", ["fork()", "syscall(SYS_fork)", "syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)"])
@pytest.mark.parametrize("leave", ["_exit(3)", "exit(3)"])
def test_a_child_has_its_own_trace_without_its_parents_blocks(tmp_path: Path, call: str, leave: str) -> None:
    source = f"""
    int main(void) {{
        void *inherited = malloc(50), *grown = malloc(60);
        kept = malloc({PARENT});
        pid_t child = {call};
        if (child == 0) {{
            kept = malloc({CHILD});
            free(inherited);
            grown = realloc(grown, 600);
            free(grown);
            {leave};
        }}
        int status;
        waitpid(child, &status, 0);
        free(inherited);
        return WEXITSTATUS(status);
    }}
    """
    status, images = run(tmp_path, [build(tmp_path, HEAD + source)])
    assert status == 3 and len(images) == 2
    parent, child = one_with(images, PARENT), one_with(images, CHILD)
    assert parent.whole and not parent.capture.forked and parent.capture.ended == "exit 3"
    assert child.capture.forked and child.capture.parent == parent.capture.pid
    assert (child.counts.frees_unknown, child.counts.reallocs_unknown) == (1, 1)
    assert child.count(Op.MALLOC, 600) == 1 and child.count(Op.REALLOC) == 0
    assert child.counts.frees_lost == child.counts.calls_lost == 0
    assert child.count(Op.THREAD_START) == 1


def test_a_child_of_a_thread_records_while_other_threads_run(tmp_path: Path) -> None:
    source = f"""
    static volatile int stop;
    static void *busy(void *a) {{ while (!stop) free(malloc(33)); return a; }}
    int main(void) {{
        pthread_t threads[2];
        for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, busy, NULL);
        for (int i = 0; i < 20; i++) {{
            pid_t child = fork();
            if (child == 0) {{ for (int k = 0; k < 100; k++) free(malloc({CHILD})); _exit(0); }}
            waitpid(child, NULL, 0);
        }}
        stop = 1;
        for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
        return 0;
    }}
    """
    status, images = run(tmp_path, [build(tmp_path, HEAD + source)])
    assert status == 0 and len(images) == 21
    children = [image for image in images if image.capture.forked]
    assert [image.count(Op.MALLOC, CHILD) for image in children] == [100] * 20
    assert all(image.counts.frees_lost == 0 for image in images)
    [parent] = [image for image in images if not image.capture.forked]
    assert parent.whole


def test_grandchildren_and_orphans_are_waited_for(tmp_path: Path) -> None:
    source = f"""
    int main(void) {{
        if (fork() == 0) {{
            if (fork() == 0) {{ setsid(); usleep(300000); kept = malloc({CHILD}); _exit(0); }}
            _exit(0);
        }}
        kept = malloc({PARENT});
        return 5;
    }}
    """
    status, images = run(tmp_path, [build(tmp_path, HEAD + source)])
    assert status == 5
    orphan = one_with(images, CHILD)
    assert orphan.capture.ended == "exit 0"


def test_what_a_vfork_child_does_belongs_to_its_parent(tmp_path: Path) -> None:
    source = f"""
    int main(void) {{
        pid_t child = vfork();
        if (child == 0) {{ kept = malloc({CHILD}); free(kept); _exit(0); }}
        waitpid(child, NULL, 0);
        kept = malloc({PARENT});
        return 0;
    }}
    """
    status, images = run(tmp_path, [build(tmp_path, HEAD + source)])
    assert status == 0 and len(images) == 1 and images[0].whole
    assert images[0].count(Op.MALLOC, CHILD) == images[0].count(Op.MALLOC, PARENT) == 1


SECOND = f"int main(void) {{ kept = malloc({CHILD}); free(kept); return 4; }}"
WAYS = {
    "fork and exec": 'if (fork() == 0) { execl("./second", "second", "word", NULL); _exit(9); } wait(&status);',
    "vfork and exec": 'if (vfork() == 0) { execl("./second", "second", "word", NULL); _exit(9); } wait(&status);',
    "posix_spawn": 'char *argv[] = {"second", "word", NULL}; pid_t p;'
    'posix_spawn(&p, "./second", NULL, NULL, argv, environ); waitpid(p, &status, 0);',
    "system": 'status = system("./second word");',
}


@pytest.mark.parametrize("way", WAYS)
def test_an_exec_begins_a_new_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    build(tmp_path, HEAD + SECOND, name="second")
    source = f"int main(void) {{ int status; kept = malloc({PARENT}); {WAYS[way]} return WEXITSTATUS(status); }}"
    program = build(tmp_path, HEAD + source)
    monkeypatch.chdir(tmp_path)
    status, images = run(tmp_path, [program])
    assert status == 4
    first, second = one_with(images, PARENT), one_with(images, CHILD)
    assert first.whole and second.whole
    assert second.capture.pid != first.capture.pid and not second.capture.forked
    assert second.capture.command[1:] == ("word",) and Path(second.capture.program).name == "second"


def test_an_exec_in_place_is_a_second_image_of_the_same_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, HEAD + SECOND, name="second")
    source = f'int main(void) {{ kept = malloc({PARENT}); execl("./second", "second", NULL); return 9; }}'
    program = build(tmp_path, HEAD + source)
    monkeypatch.chdir(tmp_path)
    status, images = run(tmp_path, [program])
    first, second = one_with(images, PARENT), one_with(images, CHILD)
    assert status == 4 and len(images) == 2
    assert (first.capture.pid, first.capture.image) == (second.capture.pid, 0)
    assert second.capture.image == 1
    assert (first.capture.ended, second.capture.ended) == ("exec", "exit 4")


def test_without_children_the_program_alone_is_recorded_through_its_execs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, HEAD + SECOND, name="second")
    source = f"""
    int main(void) {{
        if (fork() == 0) {{ kept = malloc(55); _exit(0); }}
        if (fork() == 0) {{ execl("./second", "second", NULL); _exit(9); }}
        while (wait(NULL) > 0) {{}}
        kept = malloc({PARENT});
        execl("./second", "second", NULL);
        return 9;
    }}
    """
    program = build(tmp_path, HEAD + source)
    monkeypatch.chdir(tmp_path)
    status, images = run(tmp_path, [program], children=False)
    assert status == 4
    assert [(i.capture.image, i.count(Op.MALLOC, PARENT), i.count(Op.MALLOC, CHILD)) for i in images] == [
        (0, 1, 0),
        (1, 0, 1),
    ]


def test_a_script_of_many_processes_leaves_one_trace_for_each(tmp_path: Path) -> None:
    """As pyenv's python3, a shell script that runs dozens of programs before it becomes Python."""
    script = tmp_path / "shim"
    script.write_text(
        "#!/bin/sh\nset -e\nv=$(printf 3 | cat)\nfor d in a b; do ls / >/dev/null; done\n"
        f'exec {sys.executable} -I -S -c "x = [bytearray(100_000 + i) for i in range(3000)]"\n'
    )
    script.chmod(0o755)
    status, images = run(tmp_path, [script])
    assert status == 0
    most = max(images, key=lambda image: image.counts.events)
    [first] = {image.capture.pid for image in images if image.capture.parent == os.getpid()}
    assert (most.capture.pid, most.capture.image, most.capture.ended) == (first, 1, "exit 0")
    assert "python" in Path(most.capture.program).name
    assert sum(Path(image.capture.program).name == "ls" for image in images) == 2


def test_a_program_that_changes_folder_and_environment_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder's paths are absolute, though the folder of the captures was named relative."""
    second = build(tmp_path, HEAD + SECOND, name="second")
    source = f'int main(void) {{ chdir("/"); setenv("X", "1", 1); execl("{second}", "second", NULL); return 9; }}'
    program = build(tmp_path, HEAD + source)
    monkeypatch.chdir(tmp_path)
    status, images = run(Path(), [f"./{program.name}"])
    assert status == 4
    assert one_with(images, CHILD).whole


def test_a_users_own_preload_is_kept(tmp_path: Path) -> None:
    library = build(tmp_path, "int answer(void) { return 42; }", "-shared", "-fPIC", name="answer.so")
    source = f"""
    extern int answer(void) __attribute__((weak));
    int main(void) {{ kept = malloc({BEGIN}); kept = malloc({END}); return answer ? answer() : 1; }}
    """
    env = dict(os.environ, LD_PRELOAD=str(library))
    status, [image] = run(tmp_path, [build(tmp_path, HEAD + source)], env=env)
    assert status == 42 and image.between_marks() == []


@pytest.mark.needs("libjemalloc")
def test_the_library_that_answers_malloc_is_named(tmp_path: Path) -> None:
    source = f"int main(void) {{ kept = malloc({BEGIN}); free(kept); kept = malloc({END}); return 0; }}"
    program = build(tmp_path, HEAD + source)
    _, [plain] = run(tmp_path, [program])
    (tmp_path / "other").mkdir()
    status, [other] = run(tmp_path / "other", [program], env=dict(os.environ, LD_PRELOAD="libjemalloc.so.2"))
    assert status == 0 and other.whole
    assert Path(plain.capture.allocator).name == "libc.so.6"
    assert Path(other.capture.allocator).name.startswith("libjemalloc")
    assert [row[0] for row in other.between_marks()] == ["free"]


def test_other_children_of_the_caller_are_left_to_it(tmp_path: Path) -> None:
    source = f"int main(void) {{ kept = malloc({PARENT}); return 6; }}"
    other = subprocess.Popen(["sleep", "600"])
    try:
        status, [image] = run(tmp_path, [build(tmp_path, HEAD + source)])
        assert status == 6 and image.whole
        assert other.poll() is None
    finally:
        other.kill()
        assert other.wait() == -9


def test_alone_what_the_program_leaves_is_not_waited_for(tmp_path: Path) -> None:
    left = tmp_path / "left"
    status, [image] = run(tmp_path, ["sh", "-c", f"sleep 600 & echo $! >{left}; exit 3"], children=False)
    assert status == 3 and image.whole
    os.kill(int(left.read_text()), signal.SIGKILL)  # it lives
