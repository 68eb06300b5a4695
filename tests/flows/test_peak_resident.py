"""The system's malloc under replay needs as much memory as the recorded program itself did."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from programs import compile_c
from support import ROOT

from alloclab.allocators import resolve
from alloclab.commands.record import command as record_command
from alloclab.replay import examine
from alloclab.trace import load
from alloclab.trace.compile import compile_trace

SQL = """
create table t(a integer primary key, b text, c real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000)
    insert into t select i, hex(i * 7919) || '-' || i, i * 0.5 from n;
create index k on t(b);
select count(*), sum(c) from t where b like '3%';
"""
PERL = 'my %h; $h{"key$_"} = [$_, "v" x ($_ % 40)] for 1..100000; my $n = 0; $n += @{$h{$_}} for sort keys %h;'
PYTHON = """
import json
records = [{"id": i, "name": f"user{i}", "tags": [f"t{j}" for j in range(i % 7)], "v": [i]} for i in range(30000)]
print(len(json.loads(json.dumps(records))))
"""
BASE_PYTHON = str(Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}"))

PROGRAMS = [
    pytest.param(["sqlite3", ":memory:", SQL], marks=pytest.mark.needs("sqlite3"), id="sqlite3"),
    pytest.param(["perl", "-e", PERL], marks=pytest.mark.needs("perl"), id="perl"),
    pytest.param([BASE_PYTHON, "-S", "-c", PYTHON], id="python"),
]


def own_peak(command: list[str], folder: Path) -> int:
    """Most anonymous bytes of the program's process, by the kernel's high-water mark less the pages of files."""
    library, status = folder / "status_at_end.so", folder / "status"
    compile_c(ROOT / "tests/status_at_end.c", library, "-shared", "-fPIC")
    environment = os.environ | {"LD_PRELOAD": str(library), "STATUS_AT_END": str(status)}
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    kib = {name: int(n) for name, n in re.findall(r"(VmHWM|RssFile|RssShmem):\s+(\d+)", status.read_text())}
    return (kib["VmHWM"] - kib["RssFile"] - kib["RssShmem"]) * 1024


@pytest.mark.slow
@pytest.mark.needs("gcc")
@pytest.mark.parametrize("command", PROGRAMS)
def test_peak_resident_is_the_recorded_programs_own(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONMALLOC", "malloc")
    own = own_peak(command, tmp_path)
    done = CliRunner().invoke(record_command, ["-o", str(tmp_path / "t.parquet"), "--", *command], obj={"debug": False})
    assert done.exit_code == 0, done.output
    run = examine(compile_trace(load(tmp_path / "t.parquet")), resolve("system"))
    assert run.verified, run.failure
    replayed = run.figure("peak_resident")
    print(f"{Path(command[0]).name}: own {own:,}, replayed {replayed:,}, {replayed / own - 1:+.1%}")
    assert replayed == pytest.approx(own, rel=0.06)
