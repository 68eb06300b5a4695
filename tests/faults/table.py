"""The table of the faults and of who catches them: ``python tests/faults/table.py`` makes it."""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE / "README.md"
sys.path[:0] = [str(HERE), str(HERE.parent)]

from examine import EXAMPLES, SEED, STEPS, Found, searched  # noqa: E402
from seeded import FAULTS  # noqa: E402
from variants import Fault, build  # noqa: E402

from alloclab.check.conformance import conformance  # noqa: E402

NONE = "-"

HEAD = f"""# Seeded faults: the suite is tested

Each row is one edit of one source of ours ([seeded.py](seeded.py) has them), compiled into a variant that only tests
have, and who sees it: the search of `alloclab check` on the heap, which is looked into, and on the drop-in library,
which is not (the rule, and in which example it came to light, of {EXAMPLES} with {STEPS} steps each, seed {SEED}); and
which of the rules that are tried one by one are broken. `crash`, `hang`: what became of the process.
`test_faults.py` holds that each fault is caught, and that the same sources without one are caught by nothing.
`python tests/faults/table.py` makes the table; a change of the search, or another version of Hypothesis, finds the same
faults in other examples.

| fault | of | in | what is wrong | heap | drop-in | one by one |
|---|---|---|---|---|---|---|
"""


def row(fault: Fault, heap: str, drop_in: str, rules: str) -> str:
    cells = (fault.name, fault.spec, fault.file, fault.why, heap, drop_in, rules)
    return f"| {' | '.join(cells)} |\n"


def cell(found: Found | None) -> str:
    return NONE if found is None else f"{found.rule} ({found.example})"


def examined(fault: Fault) -> str:
    """Its row, by all that can see it."""
    with tempfile.TemporaryDirectory() as folder:
        module = build(fault, Path(folder, "heap"), "heap")
        library = build(fault, Path(folder, "drop-in"), "drop-in")
        heap, drop_in = searched("heap", module, fault.spec), searched("drop-in", library, fault.spec)
        broken = [verdict.rule.number for verdict in conformance(str(library)).broken]
    made = row(fault, cell(heap), cell(drop_in), " ".join(broken) or NONE)
    print(made, end="", flush=True)
    return made


def rows() -> dict[str, list[str]]:
    """Of the table as it is: the cells of each fault, by its name."""
    lines = [line.strip("| \n").split(" | ") for line in TABLE.read_text().splitlines() if line.startswith("| ")]
    return {cells[0]: cells for cells in lines[1:]}


if __name__ == "__main__":
    with ThreadPoolExecutor(2) as pool:
        TABLE.write_text(HEAD + "".join(pool.map(examined, FAULTS)))
