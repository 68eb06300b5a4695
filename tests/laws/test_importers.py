"""Importers on small files written by hand: every event, every refusal, everything that --lenient drops."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest
from rows import Row, rows_of

from alloclab.errors import TraceError, UsageError
from alloclab.trace.importers import ImportReport, import_file, importers, sniff
from alloclab.trace.importers import text as text_module
from alloclab.trace.model import Op
from alloclab.trace.parquet import Trace
from alloclab.trace.validate import validate

M, C, R, A, F, EXIT = Op.MALLOC, Op.CALLOC, Op.REALLOC, Op.ALIGNED, Op.FREE, Op.THREAD_EXIT
GREAT = 1 << 60

# By format: a file, and what it says.
SAMPLES: dict[str, tuple[bytes, list[Row]]] = {
    "android": (
        b"""7: malloc 0xa0 16 1000 1010
7: calloc 0xb0 3 8 1020 1030
9: realloc 0xc0 0xa0 64 1040 1050
9: memalign 0x1000 256 100 1060 1070
9: free 0x0 1080 1090
7: realloc 0xa0 0x0 5 1100 1110
9: free 0xb0 1120 1130
9: thread_done 0x0 1140 1150
9: malloc 0x0 12 1160 1170
7: realloc 0x0 0xc0 0
7: malloc 0xc0 1
7: realloc 0x0 0xc0 99 900 910
""",
        [
            Row(M, 0, 16, time=0),
            Row(C, 1, 8, 3, time=20),
            Row(R, 0, 64, thread=1, time=40),
            Row(A, 2, 100, align=256, thread=1, time=60),
            Row(F, thread=1, time=80),
            Row(M, 3, 5, time=100),
            Row(F, 1, thread=1, time=120),
            Row(EXIT, thread=1, time=140),
            Row(M, size=12, thread=2, time=160, failed=True),  # the id of a thread that is gone: a new thread
            Row(R, 0, 0),
            Row(M, 4, 1),
            Row(R, 4, 99, time=0, failed=True),  # began before the first line
        ],
    ),
    "wee_alloc": (
        b"Alloc(5),\nAlloc(0),\n\nFree(0),\nAlloc(7),\nFree(2),\nFree(1),",
        [Row(M, 0, 5), Row(M, 1, 0), Row(F, 0), Row(M, 2, 7), Row(F, 2), Row(F, 1)],
    ),
    "script": (
        b"# a comment\n\na 0 5\r\nr 0 9\nf 0\na 0 6\na 44 1\n  r 44 0\nf 0\n# end",
        [Row(M, 0, 5), Row(R, 0, 9), Row(F, 0), Row(M, 1, 6), Row(M, 2, 1), Row(R, 2, 0), Row(F, 1)],
    ),
    "rep": (
        b"20000\n3\n99\n1\na 0 512\nr 1 12\nr 1 0\nf -1\na 2 %d\nf 2\nr 2 7\nr 0 %d\nf 0\n" % (GREAT, GREAT),
        [
            Row(M, 0, 512),
            Row(M, 1, 12),  # r of an unknown id
            Row(R, 1, 0),
            Row(F),
            Row(M, size=GREAT, failed=True),
            Row(F),  # of an id that names nothing
            Row(M, 2, 7),
            Row(R, 0, GREAT, failed=True),
            Row(F, 0),
        ],
    ),
    "mtrace": (
        b"""= Start
@ ./prog:(main+0x1c)[0x4011a2] + 0x5000 0x10
@ /lib/a b.so:[0x77] + 0x6000 0
@ [0x12] < 0x5000
@ [0x12] > 0x7000 0x20
@ ./prog:[0x1] - 0x6000
@ ./prog:[0x1] + (nil) 0x4000000000000000
@ ./prog:[0x1] ! 0x7000 0x4000000000000000
- 0x7000
= End
""",
        [
            Row(M, 0, 16),
            Row(M, 1, 0),
            Row(R, 0, 32),
            Row(F, 1),
            Row(M, size=1 << 62, failed=True),
            Row(R, 0, 1 << 62, failed=True),
            Row(F, 0),
        ],
    ),
    "valgrind": (
        b"""==9== Memcheck, a memory error detector
--9-- malloc(10) = 0x4A40040
--9-- calloc(3,7) = 0x4A40090
--9-- realloc(0x0,12)malloc(12) = 0x4A400F0
--9-- realloc(0x4A40040,100) = 0x4A40200
--9-- memalign(al 64, size 200) = 0x4A40280
--9-- malloc_usable_size(0x4A40280) = 200
--9-- malloc_usable_size(0x0)_Znwm(4) = 0x4A40300
--9-- _ZnwmSt11align_val_t(size 64, al 32) = 0x4A40400
--9-- _ZdlPvm(0x4A40300)
--9-- free(0x0)
--9-- realloc(0x4A40090,0)free(0x4A40090)
--9--  = 0
--9-- malloc(18446744073709551515)Argument 'size' of function malloc has a fishy (possibly negative) value: -101
==9==    at 0x484682F: malloc (in /usr/lib)
--9--  = 0x0
--9-- free(0x4A40200)
==9== HEAP SUMMARY:
""",
        [
            Row(M, 0, 10),
            Row(C, 1, 7, 3),
            Row(M, 2, 12),
            Row(R, 0, 100),
            Row(A, 3, 200, align=64),
            Row(M, 4, 4),
            Row(A, 5, 64, align=32),
            Row(F, 4),
            Row(F),
            Row(R, 1, 0),
            Row(M, size=2**64 - 101, failed=True),
            Row(F, 0),
        ],
    ),
    "ltrace": (
        b"""[pid 5] prog->malloc(10)                   = 0x100
[pid 5] prog->calloc(3, 7)                 = 0x200
[pid 6] prog->realloc(0x100, 80 <unfinished ...>
[pid 5] prog->malloc(11 <unfinished ...>
[pid 5] <... malloc resumed> )             = 0x100
[pid 6] <... realloc resumed> )            = 0x300
[pid 5] prog->free(0x200 <unfinished ...>
[pid 6] prog->malloc(12)                   = 0x200
[pid 5] <... free resumed> )               = <void>
[pid 5] prog->reallocarray(0, 3, 9, 0 <unfinished ...>
[pid 5] libc.so.6->calloc(0, 27)           = 0x400
[pid 5] <... reallocarray resumed> )       = 0x400
[pid 6] prog->memalign(64, 200, 0, 0x1) = 0x500
[pid 6] prog->posix_memalign(0x7ffc, 128, 300, 2) = 0
[pid 6] prog->posix_memalign(0x7ffc, 3, 300, 2) = 22
[pid 6] prog->aligned_alloc(32, 64) = 0x600
[pid 6] prog->realloc(0x600, 99 <unfinished ...>
[pid 6] <... realloc resumed> ) = nil
[pid 6] prog->free(0x600) = <void>
[pid 6] prog->free(0) = <void>
[pid 6] +++ exited (status 0) +++
[pid 5] --- SIGCHLD (Child exited) ---
malloc(7) = 0x700
+++ exited (status 0) +++
""",
        [
            Row(M, 0, 10),
            Row(C, 1, 7, 3),
            Row(M, 2, 11),  # at the address that the running realloc has left
            Row(R, 0, 80, thread=1),
            Row(F, 1),
            Row(M, 3, 12, thread=1),
            Row(M, 4, 27),
            Row(A, 5, 200, align=64, thread=1),
            Row(A, 6, 300, align=128, thread=1),
            Row(A, size=300, align=3, thread=1, failed=True),
            Row(A, 7, 64, align=32, thread=1),
            Row(R, 7, 99, thread=1, failed=True),
            Row(F, 7, thread=1),
            Row(F, thread=1),
            Row(EXIT, thread=1),
            Row(M, 8, 7, thread=2),
        ],
    ),
    "malloc_bench": (
        # lines { malloc { result_id 300, input_size 16 } } and so on, then max_simultaneous_allocs = 3
        bytes.fromhex("0a070a0508ac021010 0a080a06080110071820 0a05120308ac02 0a082206080010031808")
        + bytes.fromhex("0a081a06080210001850 0a061a0408031801 0a021200 0a040a021000 1003"),
        [
            Row(M, 0, 16),
            Row(A, 1, 7, align=32),
            Row(F, 0),
            Row(C, 2, 8, 3),
            Row(R, 2, 80),
            Row(M, 3, 1),  # a realloc without input
            Row(F),
            Row(M, failed=True),  # malloc(0) without result
        ],
    ),
    "workload": (
        # ALLOC_PTRS 9, ALLOC_SYNCS 1, NTHREADS 2, two threads at 11 and 27, DONE
        bytes([8, 9, 9, 1, 10, 2, 11, 11, 11, 32, 1])
        + bytes([2, 1, 0x81, 0x00, 12, 2, 64, 5, 6, 1, 4, 3, 1, 9, 5, 0, 0, 13, 4, 7, 1])
        + bytes([3, 5, 6, 7, 1, 5, 2, 1]),
        [
            Row(M, 0, 128),
            Row(C, 1, 1, 6, thread=1),
            Row(A, 2, 5, align=64),
            Row(R, 0, 9),
            Row(F, 2, thread=1),
            Row(F),
            Row(EXIT, thread=1),
            Row(A, 3, 7, align=4096),
            Row(EXIT),
        ],
    ),
}


def read(path: Path, **options: object) -> tuple[list[Row], ImportReport]:
    out = path.with_suffix(".parquet")
    report = import_file(path, out, **options)  # type: ignore[arg-type]
    trace = Trace.open(out)
    assert validate(trace) == []
    return rows_of(trace), report


def write(folder: Path, data: bytes, name: str = "sample") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", SAMPLES)
def test_every_event_of_a_sample(name: str, tmp_path: Path) -> None:
    data, expected = SAMPLES[name]
    rows, report = read(write(tmp_path, data))
    assert rows == expected
    assert report.format == name and report.events == len(expected) and report.dropped == {}
    live = {row.object for row in expected if row.object is not None}
    live -= {row.object for row in expected if row.op == F or (row.op == R and row.size == 0)}
    assert report.live_blocks == len(live)


def test_there_is_a_sample_of_every_importer() -> None:
    assert set(SAMPLES) == set(importers())


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_taken_by_its_own_importer_only(name: str) -> None:
    data = SAMPLES[name][0]
    assert [other for other, importer in importers().items() if importer.sniff(data)] == [name]


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 1000])
@pytest.mark.parametrize("name", SAMPLES)
def test_the_size_of_blocks_does_not_matter(
    name: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alloclab.trace.importers import malloc_bench, rows

    data, expected = SAMPLES[name]
    for module in (text_module, malloc_bench):
        monkeypatch.setattr(module, "BLOCK_BYTES", block)
    monkeypatch.setattr(rows, "ROWS", max(1, block // 8))
    assert read(write(tmp_path, data), format=name)[0] == expected


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "workload"])
def test_gzip_and_zip_are_read_as_they_are(name: str, tmp_path: Path) -> None:
    data, expected = SAMPLES[name]
    assert read(write(tmp_path, gzip.compress(data, mtime=0)))[0] == expected
    archive = tmp_path / "sample.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("folder/NOTICE", "words")
        out.writestr("folder/trace", data)
    assert read(archive)[0] == expected


def test_an_archive_of_two_traces_is_refused_with_their_names(tmp_path: Path) -> None:
    archive = tmp_path / "two.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("one.txt", SAMPLES["android"][0])
        out.writestr("two.rep", SAMPLES["rep"][0])
    with pytest.raises(TraceError, match=r"two\.zip.*one\.txt, two\.rep"):
        import_file(archive, tmp_path / "out.parquet")


# Format, what is put in the place of what, and what the message must say beside the file's name.
MALFORMED = [
    ("android", b"9: free 0xb0", b"9: fred 0xb0", ("line 7", "fred 0xb0", "TID: malloc|calloc")),
    ("android", b"9: free 0xb0 ", b"9: free 0xdd ", ("line 7", "free of block 0xdd", "a live block")),
    ("android", b"7: malloc 0xc0 1", b"7: malloc 0xa0 1", ("line 11", "malloc gives block 0xa0", "not live")),
    ("android", b"0xc0 0xa0 64", b"0xc0 0xaa 64", ("line 3", "realloc of block 0xaa", "a live block")),
    ("android", b"3 8", b"3 18446744073709551616", ("line 2", "18446744073709551616", "TID")),
    ("android", b"0xc0 0xa0 64", b"0xc0 0xffffffffffffffff 64", ("line 3", "0xffffffffffffffff 64", "TID")),
    (
        "script",
        b"r 44 0",
        b"r 4611686018427387905 0",
        ("line 8", "realloc of block 4611686018427387905", "a live block"),
    ),
    (
        "android",
        b"3 8",
        b"4294967296 4294967296",
        ("line 2", "calloc gives block 0xb0 for 18446744073709551616", "NULL"),
    ),
    ("wee_alloc", b"Free(2)", b"Free(0)", ("line 6", "free of block 0", "a live block")),
    ("wee_alloc", b"Free(2)", b"Free(-2)", ("line 6", "Free(-2)", "Alloc(SIZE)")),
    ("script", b"r 44 0", b"r 45 0", ("line 8", "realloc of block 45", "a live block")),
    ("script", b"a 44 1", b"a 44", ("line 7", "'a 44'", "a ID SIZE")),
    ("rep", b"f -1", b"f -2", ("line 8", "'f -2'", "f ID")),
    ("rep", b"f -1", b"7", ("line 8", "the integer 7", "a ID SIZE")),
    ("mtrace", b"> 0x7000 0x20", b"- 0x5000", ("line 4", "'<' alone", "'>' on the next line")),
    ("mtrace", b"< 0x5000", b"- 0x5000", ("line 5", "'>' alone", "'<' on the line before")),
    ("mtrace", b"0x77] +", b"0x77] *", ("line 3", "0x77", "CALLER + POINTER SIZE")),
    ("valgrind", b"--9-- malloc(10)", b"--9-- malloc(ten)", ("line 2", "malloc(ten)", "malloc(SIZE)")),
    ("valgrind", b"--9-- _ZdlPvm", b"--8-- _ZdlPvm", ("line 10", "process 8", "process 9")),
    ("valgrind", b"==9== HEAP SUMMARY:", b"hello", ("line 18", "'hello'", "valgrind --trace-malloc")),
    (
        "ltrace",
        b"<... realloc resumed> )            =",
        b"<... calloc resumed> ) =",
        ("line 6", "another function", "unfinished"),
    ),
    ("ltrace", b"prog->malloc(11 <unfinished ...>", b"--- SIGX ---", ("line 5", "a resumed call", "unfinished")),
    ("ltrace", b"free(0x600)", b"free(0x601)", ("line 19", "free of block 0x601", "a live block")),
    (
        "malloc_bench",
        b"\x12\x03\x08\xac\x02",
        b"\x12\x03\x08\xad\x02",
        ("byte 19", "free of block 301", "a live block"),
    ),
    ("malloc_bench", b"\x12\x03\x08\xac\x02", b"\x12\x04\x08\xac\x02", ("byte 19", "length", "TraceLine")),
    ("malloc_bench", b"\x12\x03\x08\xac\x02", b"\x15\x03\x08\xac\x02", ("byte 19", "another type", "Tracefile")),
    (
        "malloc_bench",
        b"\x0a\x04\x0a\x02\x10\x00",
        b"\x0a\x04\x2a\x02\x10\x00",
        ("without an operation", "malloc, free"),
    ),
    ("workload", bytes([5, 2, 1]), bytes([99, 2, 1]), ("byte 37", "opcode 99", "opcode that may stand")),
    ("workload", bytes([7, 1, 5, 2, 1]), bytes([7, 0, 5, 2, 1]), ("byte 35", "waits for a sync", "deadlock")),
    ("workload", bytes([7, 1, 5, 2, 1]), bytes([7, 2, 5, 2, 1]), ("byte 35", "sync number", "smaller")),
    ("workload", bytes([3, 5, 6]), bytes([3, 10, 6]), ("byte 32", "pointer number", "smaller")),
    ("workload", bytes([11, 32, 1]), bytes([11, 99, 1]), ("byte 8", "past the end of the file", "within")),
]


@pytest.mark.parametrize(("name", "good", "bad", "words"), MALFORMED)
def test_a_malformed_file_is_refused_where_it_is_wrong(
    name: str, good: bytes, bad: bytes, words: tuple[str, ...], tmp_path: Path
) -> None:
    data = SAMPLES[name][0]
    assert data.count(good) >= 1
    path = write(tmp_path, data.replace(good, bad, 1))
    out = tmp_path / "out.parquet"
    with pytest.raises(TraceError) as error:
        import_file(path, out, format=name)
    message = str(error.value)
    assert str(path) in message and "\n" not in message
    assert all(word in message for word in ("found", "expected", *words)), message
    assert [p.name for p in tmp_path.iterdir()] == ["sample"]


@pytest.mark.parametrize("block", [1, 1 << 20])
@pytest.mark.parametrize(
    "data",
    [
        b"= Start\n@ [0x1] - 0x50\n@ [0x1] < 0x50\n",
        b"--9-- free(0x0)\n--9-- free(0x50)\n--8-- free(0x0)\n",
        b"9 p->free(0x0) = <void>\n9 p->free(0x50) = <void>\n9 <... malloc resumed> ) = 0x50\n",
        b"7: free 0x0\n7: free 0x50\nnoise\n",
    ],
)
def test_of_several_errors_the_first_is_told(
    data: bytes, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_module, "BLOCK_BYTES", block)
    with pytest.raises(TraceError, match="line 2: found free of block 0x50"):
        import_file(write(tmp_path, data), tmp_path / "out.parquet")


@pytest.mark.parametrize(
    "data", [SAMPLES["android"][0], gzip.compress(SAMPLES["rep"][0], mtime=0), SAMPLES["malloc_bench"][0]]
)
def test_progress_tells_how_much_of_the_file_is_read(data: bytes, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    import_file(write(tmp_path, data), tmp_path / "out.parquet", progress=lambda *what: told.append(what))
    assert told[-1] == (len(data), len(data), "sample")


LENIENT = [
    ("android", b"9: free 0xb0 1120 1130", b"9: free 0xdd 1120 1130", {"frees of unknown blocks": 1}, 11),
    (
        "android",
        b"7: malloc 0xc0 1\n",
        b"7: malloc 0xc0 1\n7: malloc 0xc0 2\nnoise\n",
        {"births at a live block's name": 1, "lines not understood": 1},
        12,
    ),
    (
        "android",
        b"0xc0 0xa0 64",
        b"0xc0 0xaa 64",
        {"reallocs of unknown blocks": 2, "births at a live block's name": 1},
        9,
    ),
    ("script", b"f 0\na", b"f 0\nf 0\nf 7\na", {"frees of unknown blocks": 2}, 7),
    (
        "mtrace",
        b"> 0x7000 0x20",
        b"- 0x5000",
        {"halves of a realloc": 1, "reallocs of unknown blocks": 1, "frees of unknown blocks": 1},
        5,
    ),
    ("valgrind", b"--9-- _ZdlPvm", b"--8-- _ZdlPvm", {"events of other processes": 1}, 11),
    ("ltrace", b"prog->malloc(11 <unfinished ...>", b"--- SIGX ---", {"resumed calls that never began": 1}, 15),
    (
        "ltrace",
        b"0x100, 80 <unf",
        b"0x101, 80 <unf",
        {"reallocs of unknown blocks": 1, "births at a live block's name": 1},
        14,
    ),
]


@pytest.mark.parametrize(("name", "good", "bad", "dropped", "events"), LENIENT)
def test_lenient_drops_and_counts_what_cannot_be_replayed(
    name: str, good: bytes, bad: bytes, dropped: dict[str, int], events: int, tmp_path: Path
) -> None:
    path = write(tmp_path, SAMPLES[name][0].replace(good, bad, 1))
    with pytest.raises(TraceError):
        import_file(path, tmp_path / "out.parquet")
    rows, report = read(path, lenient=True)
    assert report.dropped == dropped
    assert len(rows) == events
    assert Trace.open(path.with_suffix(".parquet")).metadata.dropped == dropped


def test_an_alignment_that_memalign_rounds_up_is_told_as_served(tmp_path: Path) -> None:
    data = b"1: memalign 0x40 24 100\n1: memalign 0x80 0 10\n1: memalign 0x0 3 10\n"
    rows, _ = read(write(tmp_path, data))
    assert rows == [Row(A, 0, 100, align=32), Row(A, 1, 10, align=1), Row(A, size=10, align=3, failed=True)]


def test_calls_that_never_return_are_counted(tmp_path: Path) -> None:
    data = b"[pid 1] p->malloc(5) = 0x10\n[pid 2] p->malloc(5 <unfinished ...>\n[pid 1] p->free(0x10 <unfinished ...>\n"
    rows, report = read(write(tmp_path, data))
    assert rows == [Row(M, 0, 5), Row(F, 0)]
    assert report.dropped == {"calls that never returned": 1}
    data = data.replace(b"unfinished", b"no return")
    assert read(write(tmp_path, data)) == (rows, report)


def test_a_line_past_all_reason_is_refused_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "BLOCK_BYTES", 1 << 12)
    path = write(tmp_path, b"a 0 1\n#" + b"x" * (1 << 20) + b"\nf 0\n")
    with pytest.raises(TraceError, match="line 2: found '#xxx"):
        import_file(path, tmp_path / "out.parquet")
    rows, report = read(path, lenient=True)
    assert rows == [Row(M, 0, 1), Row(F, 0)] and report.dropped == {"lines not understood": 1}


def test_the_end_of_a_binary_file_within_a_field_is_refused(tmp_path: Path) -> None:
    data = SAMPLES["malloc_bench"][0]
    with pytest.raises(TraceError, match=r"byte 36: found the end of the file within 7 bytes"):
        import_file(write(tmp_path, data[:43]), tmp_path / "out.parquet", format="malloc_bench")
    with pytest.raises(TraceError, match=r"byte 39: found the end of the file"):
        import_file(write(tmp_path, SAMPLES["workload"][0][:-1]), tmp_path / "out.parquet")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty file"),
        (b"just some words\nof text\n", "not a trace in any format known here"),
        (gzip.compress(SAMPLES["android"][0], mtime=0)[:-9], "damaged or unreadable compressed file"),
        (b"PK\x03\x04 and nothing", "damaged or unreadable compressed file"),
        (b"PAR1....", "needs no import"),
    ],
)
def test_what_is_no_trace_is_refused_in_one_line(data: bytes, words: str, tmp_path: Path) -> None:
    path = write(tmp_path, data)
    with pytest.raises(TraceError, match=words) as error:
        import_file(path, tmp_path / "out.parquet")
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out.parquet").exists()


def test_an_unknown_format_lists_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'nonsense'; known: android, ltrace, malloc_bench"):
        import_file(write(tmp_path, b"a 0 1\n"), tmp_path / "out.parquet", format="nonsense")


def test_a_file_without_events_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="found no events"):
        import_file(write(tmp_path, b"1\n2\n3\n4\n"), tmp_path / "out.parquet")


def test_sniffing_says_none_for_what_nobody_knows(tmp_path: Path) -> None:
    assert sniff(write(tmp_path, b"\x7fELF\x02\x01\x01")) is None
