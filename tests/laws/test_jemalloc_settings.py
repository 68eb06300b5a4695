"""jemalloc's settings, and its figures by mallctl's names: as the real library, to the digit."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from programs import HERE, Said, compile_c, listen
from support import budget

from alloclab.allocators import lab_allocator

REAL = "libjemalloc"
BOTH = (REAL, "jemalloc")
FIXED = ("setarch", "-R")
"""Metadata depends on addresses: of each GiB in which there is something, the map has a leaf."""
pytestmark = [pytest.mark.needs(what) for what in ("gcc", REAL, "glibc 2.36")]
NOT_BUILT = "<jemalloc>: Not built in alloclab: "
"""What only ours says: of settings by which the real library would do what ours cannot."""

CONFIGURATIONS = [
    # how the list is written
    "",
    "narenas",
    "narenas:",
    ":3",
    ":",
    ",",
    "narenas:3,",
    ",narenas:3",
    "narenas:3,,tcache:false",
    "narenas:3;tcache:false",
    " narenas:3",
    "narenas:3 ",
    "narenas=3",
    "nar-enas:3",
    "a.b:3",
    "Narenas:3",
    "_x:3,3x:2,foo:1",
    "narenas:3,foo:1,tcache:false",
    "narenas:3,foo,tcache:false",
    "narenas:3:4",
    "narenas:3,narenas:5",
    # numbers
    *(f"tcache_gc_delay_bytes:{value}" for value in (" 3", "\t3", "\n3", "+3", "- 3", "+-3", "0x3", "0XA", "07", "08")),
    *(f"tcache_gc_delay_bytes:{value}" for value in ("", "0x", "-0x3", "3k", "18446744073709551616", "-1")),
    *(f"tcache_gc_delay_bytes:{value}" for value in ("49147306762292904959", "0x2fffffffffffffff1")),
    *(f"narenas:{value}" for value in ("0", "1", "4094", "4095", "-1", "4294967296", "default", "10000000000000")),
    *(f"narenas_ratio:{value}" for value in ("0", "0.5", ".5", "1.", "1.25", "1.5x", "-1", "65536", "0x1")),
    "narenas:5,narenas:default,narenas_ratio:3",
    "narenas_ratio:3,narenas:x",
    *(f"tcache_max:{value}" for value in ("0", "1", "9", "14337", "8388608", "8388609", "-1")),
    *(f"lg_tcache_max:{value}" for value in ("0", "10", "23", "24", "-1")),
    "tcache_max:5000,lg_tcache_max:10",
    "lg_tcache_max:10,tcache_max:5000",
    *(f"lg_tcache_nslots_mul:{value}" for value in ("-17", "-16", "0", "16", "17")),
    *(f"tcache_nslots_small_min:{value}" for value in ("0", "1", "2048", "2049")),
    "tcache_nslots_small_min:300,tcache_nslots_small_max:5,tcache_nslots_large:0",
    *(f"tcache_gc_incr_bytes:{value}" for value in ("0", "1023", "1025", "-1")),
    *(f"lg_tcache_flush_small_div:{value}" for value in ("0", "1", "16", "17")),
    *(f"dirty_decay_ms:{value}" for value in ("-1", "-2", "-0", "0", "18446744072000", "18446744072001")),
    "dirty_decay_ms:5,dirty_decay_ms:x,muzzy_decay_ms:-1",
    *(f"oversize_threshold:{value}" for value in ("0", "16383", "16384", "8070450532247928832", "8070450532247928833")),
    *(f"lg_extent_max_active_fit:{value}" for value in ("0", "64", "65", "-1")),
    # words
    *(f"tcache:{value}" for value in ("1", "True", "yes", "false")),
    *(f"dss:{value}" for value in ("disabled", "primary", "p", "", "auto")),
    *(f"thp:{value}" for value in ("always", "al", "never", "", "x")),
    *(f"junk:{value}" for value in ("true", "alloc", "free", "t", "")),
    "d:primary,ds:s,t:always,th:always,m:auto,m:x,p:d",
    "zero:true,retain:false,background_thread:false,zero:x",
    # lists of ranges, and ratios
    *(
        f"bin_shards:{value}"
        for value in ("", "1", "1-2:3|", "1-2:3|5-6:64", "1-2:65", "2-1: 0x3", "1-2:3x", "default")
    ),
    *(
        f"slab_sizes:{value}"
        for value in ("default", "1-2:0", "1-2:-1", "1-2:3-5-6:7", "1-2:3||4-5:6", "1-2:3|4", "1-2:3:4")
    ),
    *(f"hpa_dirty_mult:{value}" for value in ("-1", "-2", "1.5", "1.5x", "", ".5", "99999")),
    *(f"hpa_hugification_threshold_ratio:{value}" for value in ("-1", "0.5", "1", "1.5", "x")),
    # what has no meaning here, and what ends the process
    "prof_prefix:@@,stats_print_opts:@@,lg_prof_sample:20,mutex_max_spin:-1,stats_interval:-2,trust_madvise:true",
    "cache_oblivious:false,xmalloc:true,utrace:true",
    "confirm_conf:true,narenas:3,tcache:x,dss:p,foo:1",
    "foo:1,confirm_conf:true,confirm_conf:false,narenas:3",
    "confirm_conf:true,foo:1,,bar",
    "confirm_conf:@@",
    "abort_conf:true,narenas:3",
    "abort_conf:true,foo:1",
    "foo:1,abort_conf:true,narenas:0,bar:1",
    "abort_conf:true,narenas",
    "abort_conf:true,narenas:9999",
    "abort_conf:true,foo:1,abort_conf:false",
]
"""What MALLOC_CONF may say."""


OPTIONS = [t.real_name for t in lab_allocator("jemalloc").tunables if t.real_name is not None]
WORDS = {t.real_name: t.range.split("|") for t in lab_allocator("jemalloc").tunables if t.type == "choice"}


def in_words(line: str) -> str:
    """Of a choice, ours tells the number."""
    name, _, value = line.partition(": ")
    return f"{name}: {WORDS[name][int(value)]}" if name in WORDS and value.isdigit() else line


def run(spec: str, *command: str | Path, **variables: str) -> Said:
    said = listen(spec, REAL, NOT_BUILT, command, variables)
    return replace(said, out="\n".join(in_words(line) for line in said.out.splitlines()))


def compare(*command: str | Path, **variables: str) -> None:
    there, here = (run(spec, *command, **variables) for spec in BOTH)
    assert replace(here, ours=()) == there


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c(HERE / "jemalloc_figures.c", tmp_path_factory.mktemp("figures") / "figures")


# --- settings ---


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_it_reads_malloc_conf(configuration: str, program: Path) -> None:
    compare(program, "options", *OPTIONS, MALLOC_CONF=configuration)


@pytest.mark.parametrize("configuration", ["", "narenas_ratio:3", "narenas:2,narenas_ratio:3"])
def test_with_one_cpu_no_ratio_counts(configuration: str, program: Path) -> None:
    one = str(min(os.sched_getaffinity(0)))
    compare("taskset", "-c", one, program, "options", "opt.narenas", "arenas.narenas", MALLOC_CONF=configuration)


def random_configurations(count: int) -> Iterator[str]:
    order = random.Random(8)
    names = [
        *(name.removeprefix("opt.") for name in OPTIONS if name not in ("opt.background_thread", "opt.stats_print")),
        *("lg_tcache_max", "narenas_ratio", "confirm_conf", "abort_conf", "metadata_thp", "d", "ds", "m", "x", "abort"),
    ]
    values = [
        *("true", "false", "0", "1", "2", "16", "17", "64", "65", "2048", "4095", "99999999", "18446744073709551615"),
        *("-1", "-2", "0x10", "010", "08", "+5", "default", "always", "primary", "alloc", "p", "d", "a", "1.5", "x"),
        *("", " 3", "3 "),
    ]
    for _ in range(count):
        pairs = [order.choice(names) + order.choice([":"] * 30 + ["", "="]) + order.choice(values) for _ in range(4)]
        yield ",".join(pairs[: order.randint(1, 4)])


def test_it_reads_whatever_malloc_conf_says(program: Path) -> None:
    for configuration in random_configurations(budget(150)):
        compare(program, "options", *OPTIONS, MALLOC_CONF=configuration)


def test_the_program_may_have_a_configuration_too(tmp_path: Path) -> None:
    """The environment comes after it; whether to abort is known when all is read."""
    conf = '-DCONF="narenas:7,dirty_decay_ms:77,foo:1"'
    program = compile_c(HERE / "jemalloc_figures.c", tmp_path / "figures", "-rdynamic", conf)
    for configuration in ("", "narenas:5", "confirm_conf:true,narenas:4", "abort_conf:true"):
        compare(program, "options", *OPTIONS, MALLOC_CONF=configuration)


@pytest.mark.needs("own mounts")
@pytest.mark.parametrize("link", ["narenas:5,dirty_decay_ms:3,foo:2", "x" * 4000 + ":1,narenas:2", "confirm_conf:true"])
def test_the_system_may_have_a_configuration_too(link: str, program: Path) -> None:
    hidden = f"mount -t tmpfs none /etc && ln -s '{link}' /etc/malloc.conf && exec \"$@\""
    for configuration in ("", "narenas:6"):
        words = ["unshare", "-rm", "sh", "-c", hidden, "sh", program, "options", *OPTIONS]
        compare(*words, MALLOC_CONF=configuration)


@pytest.mark.parametrize(
    "setting",
    [
        *("hpa:true", "percpu_arena:percpu", "prof:true"),
        pytest.param("slab_sizes:" + "1-20000:1|" * 110, id="slab_sizes in a thousand letters"),
        pytest.param("bin_shards:" + "1-20000:1|" * 110, id="bin_shards in a thousand letters"),
    ],
)
def test_it_tells_what_is_not_built(setting: str, program: Path) -> None:
    said = run("jemalloc", program, "options", *OPTIONS, MALLOC_CONF=f"{setting},narenas:3")
    assert said.ours == (f"{NOT_BUILT}{setting}",)
    assert "opt.narenas: 3" in said.out.splitlines() and said.status == 0


@pytest.mark.parametrize(
    ("setting", "option"),
    [("dirty_decay_ms=-1", "18446744073709551615"), ("lg_tcache_nslots_mul=-3", "18446744073709551613")],
)
def test_numbers_may_be_negative(setting: str, option: str, program: Path) -> None:
    name = "opt." + setting.split("=")[0]
    said = run("jemalloc", program, "options", name, ALLOCLAB_OPTIONS=setting)
    assert said.out == f"{name}: {option}"


@pytest.mark.parametrize("value", ["-2", "--1", "-", "", "1k", "18446744072001", "9223372036854775808"])
def test_numbers_that_may_be_negative_have_a_range(value: str, program: Path) -> None:
    said = run("jemalloc", program, "options", ALLOCLAB_OPTIONS=f"dirty_decay_ms={value}")
    reason = f"jemalloc: dirty_decay_ms is a number from -1 to 18446744072000, not '{value}'"
    assert (said.errors, said.status) == (f"alloclab: ALLOCLAB_OPTIONS: {reason}\n", 2)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("tcache_gc_incr_bytes=1", "is a size from 1KiB up"),
        ("seed=x", "is a number from 0 up"),
        ("oversize_threshold=8EiB", "is a size from 0 to 7EiB"),
        ("slab_sizes=1-4096:17|x", "is written FROM-TO:PAGES|FROM-TO:PAGES"),
        ("bin_shards=1-4096:17|1-9:65", "is written FROM-TO:SHARDS|FROM-TO:SHARDS"),
    ],
)
def test_a_range_is_told_as_it_would_be_written(setting: str, reason: str, program: Path) -> None:
    name, value = setting.split("=")
    said = run("jemalloc", program, "options", ALLOCLAB_OPTIONS=setting)
    assert said.errors == f"alloclab: ALLOCLAB_OPTIONS: jemalloc: {name} {reason}, not '{value}'\n"


def test_the_list_of_settings_shows_ranges() -> None:
    ranges = {t.name: (t.type, t.default, t.range) for t in lab_allocator("jemalloc").tunables}
    assert ranges["dirty_decay_ms"] == ("integer", "10000", "-1 .. 18446744072000")
    assert ranges["oversize_threshold"][2] == "0 .. 7EiB" and ranges["tcache_gc_incr_bytes"][2] == "1KiB or more"
    assert ranges["slab_sizes"] == ("text", "", "FROM-TO:PAGES|FROM-TO:PAGES")
    assert ranges["lg_tcache_nslots_mul"] == ("integer", "1", "-16 .. 16")


# --- slab_sizes ---

SLABS = [f"arenas.bin.{i}.{figure}" for i in range(36) for figure in ("slab_size", "nregs")]
SLAB_SIZES = [
    *("default", "1-4096:17", "1-4096:17|100-100:20", "112-112:20", "97-111:20", "112-97:20", "0-99999999999:3"),
    *("1-100000:0", "1-100000:511", "1-100000:1000000", "1-100000:-1", "1-100000:4294967297", "60-70:2147483648"),
    *("-1-100:17", "1--1:17", "80-100:0x3|112-112: 010", "100000-200000:3", "14336-14336:3"),
    *("1-100:5|50-70:9|60-200:3", "1-100:3 500-1000:2", "1-100:3-500-1000:2", "1-100:3|500-1000:2|"),
    *("", "x", "1-100:17|x", "1-100:17x", "1-100:3||500-1000:2", "80-96:2|1-2", "80-96:2|1-2:", "1-100:17|default"),
    *(
        "1-100000:17,slab_sizes:8-64:1",
        "1-100000:17,slab_sizes:default",
        "1-100:7,slab_sizes:default,slab_sizes:64-99:3",
    ),
    *("1-100000:17,slab_sizes:x", "48-64:3,slab_sizes:100-130:2|200-300:x", "48-64:3|,slab_sizes:100-130:2"),
    *("64-64:2,abort_conf:true,slab_sizes:64-64:2|x", "64-64:2,confirm_conf:true,foo:1"),
]


@pytest.mark.parametrize("sizes", SLAB_SIZES)
def test_slabs_are_laid_out_alike(sizes: str, program: Path) -> None:
    compare(program, "options", *SLABS, MALLOC_CONF=f"slab_sizes:{sizes}")


def random_ranges(setting: str, number_most: int, count: int) -> Iterator[str]:
    order = random.Random(5)
    odd = ["", "x", "-1", "0x40", "010", " 7", "+9", "4294967298", "18446744073709551615", "99999999999999999999"]

    def number(most: int) -> str:
        return order.choice(odd) if order.random() < 0.04 else str(order.randint(0, order.choice([64, 1000, most])))

    for _ in range(count):
        ranges = [f"{number(2000)}-{number(20000)}:{number(number_most)}" for _ in range(order.randint(1, 8))]
        texts = [order.choice(["|"] * 15 + ["||", " "]).join(ranges[i::2]) for i in range(2)]
        yield ",".join(f"{setting}:{text}" for text in texts if text)


def test_any_slab_sizes_are_laid_out_alike(program: Path) -> None:
    for configuration in random_ranges("slab_sizes", 2000, budget(60)):
        compare(program, "options", *SLABS, MALLOC_CONF=configuration)


def test_slab_sizes_of_a_program_are_added_to(tmp_path: Path) -> None:
    conf = '-DCONF="slab_sizes:16-200:3"'
    program = compile_c(HERE / "jemalloc_figures.c", tmp_path / "figures", "-rdynamic", conf)
    for configuration in ("", "slab_sizes:150-400:2", "slab_sizes:default", "slab_sizes:150-160:1|x"):
        compare(program, "options", *SLABS, MALLOC_CONF=configuration)


def test_a_spec_replaces_slab_sizes(program: Path) -> None:
    """As it does with any other setting."""
    words = [program, "options", *SLABS]
    alone = run("jemalloc:slab_sizes=64-100:3|80-80:4", *words)
    assert run("jemalloc:slab_sizes=64-100:3|80-80:4", *words, MALLOC_CONF="slab_sizes:16-20000:2").out == alone.out
    assert run("jemalloc", *words, MALLOC_CONF="slab_sizes:64-100:3|80-80:4").out == alone.out
    assert run("jemalloc:slab_sizes=", *words, MALLOC_CONF="slab_sizes:1-99:2").out == run("jemalloc", *words).out


# --- bin_shards ---

SHARDS = [f"arenas.bin.{i}.nshards" for i in range(36)]
BIN_SHARDS = [
    *("1-128:4", "9-17:3", "1-48:5|17-32:2", "20-10:5", "0-0:5", "14000-99999:4", "15000-20000:4", "1--1:64|17-32:3"),
    *("1-100:0", "1-100:65", "1-100:4294967297", "1-48:5|17-32:65", "1-48:5|17-x", "1-48:5|", "", "default", "1-9: 02"),
    *("1-48:5,bin_shards:17-32:2", "1-48:5,bin_shards:17-32:2|1-9:0", "1-48:5,bin_shards:default"),
]


@pytest.mark.parametrize("shards", BIN_SHARDS)
def test_bins_have_as_many_shards(shards: str, program: Path) -> None:
    compare(program, "options", *SHARDS, MALLOC_CONF=f"bin_shards:{shards}")


def test_any_bins_have_as_many_shards(program: Path) -> None:
    for configuration in random_ranges("bin_shards", 66, budget(60)):
        compare(program, "options", *SHARDS, MALLOC_CONF=configuration)


# --- zero_realloc ---


@pytest.mark.parametrize("way", ["alloc", "free", "abort", "none", ""])
def test_realloc_to_nothing(way: str, program: Path) -> None:
    """All of what is said, and how the process ends."""
    compare(program, "zero", MALLOC_CONF=f"zero_realloc:{way}")


# --- figures ---


def test_names_lead_where_mallctls_do(program: Path) -> None:
    compare(program, "names")


TOURS = [
    "",
    "tcache:false",
    "narenas:1",
    "oversize_threshold:0,muzzy_decay_ms:1000",
    "dirty_decay_ms:0,muzzy_decay_ms:-1",
    "tcache_max:100000,lg_tcache_nslots_mul:-1,tcache_nslots_large:7",
    "dirty_decay_ms:-1,lg_extent_max_active_fit:2",
    "slab_sizes:1-20000:40|100-300:1",
    "narenas:1,bin_shards:1-128:4|1000-20000:64",
]


def figures(text: str) -> Iterator[tuple[str, dict[str, int]]]:
    """Each step, and what was told of it."""
    for part in text.split("== ")[1:]:
        title, *lines = part.splitlines()
        yield title, {name: int(value) for name, value in (line.split() for line in lines)}


def is_of_metadata(name: str) -> bool:
    """Of what mallctl itself takes, there is nothing here."""
    return name in ("stats.metadata", "stats.resident") or (
        name.startswith(("stats.arenas.0.", "stats.arenas.4096.")) and name.endswith((".base", ".resident"))
    )


@pytest.mark.needs("fixed addresses")
@pytest.mark.parametrize("configuration", TOURS)
def test_figures_are_the_real_ones(configuration: str, program: Path) -> None:
    there, here = (dict(figures(run(spec, *FIXED, program, "tour", MALLOC_CONF=configuration).out)) for spec in BOTH)
    assert len(there) > 20 and list(here) == list(there)
    for title in there:
        assert without_metadata(here[title]) == without_metadata(there[title]), title


def without_metadata(told: Mapping[str, int]) -> dict[str, int]:
    return {name: value for name, value in told.items() if not is_of_metadata(name)}


@pytest.mark.needs("fixed addresses")
def test_metadata_grows_as_the_real_librarys(program: Path) -> None:
    """But for what mallctl takes at its first call."""
    there, here = (list(figures(run(spec, *FIXED, program, "tour").out)) for spec in BOTH)
    page = 4096
    for name in ("stats.metadata", "stats.resident", "stats.arenas.0.base", "stats.arenas.0.resident"):
        apart = [real[name] - ours[name] for (_, real), (_, ours) in zip(there, here, strict=True)]
        assert max(apart) - min(apart) <= (page if "resident" in name else 0), name


# --- the report ---


def tables(text: str) -> dict[str, list[dict[str, str]]]:
    """Of arena 0: the rows of each table, by the words over them."""
    found: dict[str, list[dict[str, str]]] = {}
    columns: list[str] = []
    for line in text.partition("arenas[0]:\n")[2].splitlines():
        first, *rest = line.split() or [""]
        if rest[:1] == ["size"]:
            columns, rows = rest, found.setdefault(first.removesuffix(":"), [])
        elif columns and len(rest) + 1 == len(columns) and first.isdigit():
            rows.append(dict(zip(columns, [first, *rest], strict=True)))
    return found


@pytest.mark.needs("fixed addresses")
def test_the_report_says_what_the_real_one_does(program: Path) -> None:
    """Theirs takes 64 KiB to print it."""
    there = tables(run(REAL, *FIXED, program, "report").out)
    here = tables(run("jemalloc", *FIXED, program, "report").errors)
    for table in ("bins", "large"):
        kept = [{c: row[c] for c in here[table][0]} for row in there[table] if row["size"] != "65536"]
        assert here[table] == kept
    assert len(here["bins"]) == 36
    assert sum(int(row["total"]) for row in here["extents"]) > 0


def test_the_report_may_be_printed_at_the_end(program: Path) -> None:
    """Theirs then knows of requests that caches have not told of."""
    there, here = (run(spec, program, "tour", MALLOC_CONF="narenas:8,stats_print:true") for spec in BOTH)
    assert here.errors.startswith("___ Begin jemalloc statistics ___\n")
    assert here.errors.endswith("--- End jemalloc statistics ---\n")
    columns = [column for column in tables(here.errors)["bins"][0] if column != "nrequests"]
    theirs, ours = ([[row[c] for c in columns] for row in tables(said.errors)["bins"]] for said in (there, here))
    assert ours == theirs and len(ours) > 36
