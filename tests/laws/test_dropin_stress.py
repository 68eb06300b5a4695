"""Threads, forks, ends of threads and processes, and blocks that others free, all at once, on every drop-in:
dropin_stress.c, which can also be run by hand for as long as one likes."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import HERE, compile_c, run
from support import budget

from alloclab.allocators import LabAllocator, lab_allocators

ENDINGS = 4
"""How a process of the stress comes to its end depends on the seed."""


@pytest.fixture(scope="module")
def stress(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("stress") / "stress"
    return compile_c(HERE / "dropin_stress.c", program, f"-I{HERE.parent / 'csrc'}")


@pytest.mark.slow
@pytest.mark.parametrize("lab", lab_allocators(), ids=lambda lab: lab.name)
def test_all_at_once(lab: LabAllocator, stress: Path) -> None:
    for seed in range(1, budget(2 * ENDINGS) + 1):
        done = run(lab.name, stress, "0", str(seed))
        assert (done.returncode, done.stdout, done.stderr) == (0, f"1 rounds, seeds from {seed}\n", ""), seed
