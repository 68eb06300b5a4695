"""The system's malloc under replay needs as much memory as the recorded program itself did."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

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


def own_peak(command: list[str], environment: dict[str, str]) -> int:
    """Most anonymous bytes of the program's process, by the kernel's high-water mark less the pages of files."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        kib = {name: int(n) for name, n in re.findall(r"(VmHWM|RssAnon|RssFile|RssShmem):\s+(\d+)", status)}
        if kib:
            peak = max(peak, kib["RssAnon"], kib["VmHWM"] - kib["RssFile"] - kib["RssShmem"])
        time.sleep(0.001)
    assert process.returncode == 0
    return peak * 1024


@pytest.mark.slow
@pytest.mark.parametrize("command", PROGRAMS)
def test_peak_resident_is_the_recorded_programs_own(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONMALLOC", "malloc")
    own = own_peak(command, dict(os.environ))
    done = CliRunner().invoke(record_command, ["-o", str(tmp_path / "t.parquet"), "--", *command], obj={"debug": False})
    assert done.exit_code == 0, done.output
    run = examine(compile_trace(load(tmp_path / "t.parquet")), resolve("system"))
    assert run.verified, run.failure
    replayed = run.figure("peak_resident")
    print(f"{Path(command[0]).name}: own {own:,}, replayed {replayed:,}, {replayed / own - 1:+.1%}")
    assert replayed == pytest.approx(own, rel=0.06)
