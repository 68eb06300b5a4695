"""Hypothesis, where a command uses it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

from hypothesis.configuration import set_hypothesis_home_dir


@contextlib.contextmanager
def nothing_left_behind() -> Iterator[None]:
    """What Hypothesis keeps in ``.hypothesis`` of the current folder is for tests; nobody expects it of a command."""
    with tempfile.TemporaryDirectory(prefix="alloclab-") as folder:
        set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            set_hypothesis_home_dir(None)
