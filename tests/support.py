"""What several tests use."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def budget(examples: int) -> int:
    """How many examples a property test runs: its own number, times pytest's ``--budget``."""
    return examples * int(os.environ.get("ALLOCLAB_TEST_BUDGET", "1"))
