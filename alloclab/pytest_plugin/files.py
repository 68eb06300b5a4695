"""Where what a failure leaves is kept, and under which names."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

from alloclab.errors import UsageError

_NEW = pytest.StashKey[Path]()


def files_folder(config: pytest.Config) -> Path:
    """The folder for files of failures: --alloclab-files, or one in pytest's cache, or where that is off, a new one."""
    given = config.option.alloclab_files
    if given:
        folder: Path = config.invocation_params.dir / given
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--alloclab-files {given}: {error.strerror}") from None
        return folder
    cache: pytest.Cache | None = getattr(config, "cache", None)
    if cache is not None:
        return cache.mkdir("alloclab")
    if _NEW not in config.stash:
        config.stash[_NEW] = Path(tempfile.mkdtemp(prefix="alloclab-"))
    return config.stash[_NEW]


def file_name(nodeid: str) -> str:
    """What a test is called, as a file may be."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", nodeid).strip("-.")[:150]
