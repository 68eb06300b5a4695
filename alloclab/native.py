"""The only module that imports the C extension, and the only one that knows where the built files lie."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import alloclab._core as _core

ffi = _core.ffi
lib = _core.lib


def built_file(name: str) -> Path:
    """The path of a drop-in library, the recorder or ``alloclab-replay``.

    In an editable install these lie in the build folder, so importlib.resources is asked, not ``__file__``.
    """
    with resources.as_file(resources.files("alloclab") / "_lib" / name) as path:
        return path
