"""Facts of the machine: plain JSON, digests of what was measured, and no folders of the user's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from alloclab import machine


def test_facts_are_json_and_fit_in_a_line() -> None:
    facts = machine.describe()
    assert json.loads(json.dumps(facts)) == facts
    line = machine.one_line(facts)
    assert "\n" not in line
    for part in (facts["cpu"], facts["kernel"], facts["libc"], "THP "):
        assert part in line


def test_a_library_is_named_by_file_version_and_digest_but_not_by_folder(tmp_path: Path) -> None:
    real = tmp_path / "libx.so.2.5.9"
    real.write_bytes(b"library")
    link = tmp_path / "libx.so.2"
    link.symlink_to(real)
    digest = hashlib.sha256(b"library").hexdigest()[:16]
    facts = machine.describe({"libx": link})
    assert facts["libraries"]["libx"] == {"file": "libx.so.2", "version": "2.5.9", "sha256": digest}
    assert str(tmp_path) not in json.dumps(facts)


def test_the_system_is_named_by_the_c_library_itself() -> None:
    system = machine.describe({"system": None})["libraries"]["system"]
    assert system["file"] == "libc.so.6" and len(system["sha256"]) == 16


def test_a_line_can_be_made_of_facts_that_lack_some() -> None:
    assert machine.one_line({"cpu": "X"}).startswith("X, ? cores")
