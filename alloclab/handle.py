"""What Python holds of C's: addresses, and objects that must be given back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeVar

from alloclab.errors import UsageError
from alloclab.native import ffi

H = TypeVar("H", bound="Handle")


def to_pointer(address: int) -> Any:
    return ffi.cast("void *", address)


def to_int(pointer: Any) -> int:
    return int(ffi.cast("uintptr_t", pointer))


class Handle(ABC):
    """An object of C's, given back at the end of a ``with``, by ``close``, or when Python forgets it."""

    _pointer: Any = ffi.NULL

    @abstractmethod
    def _give_back(self) -> None: ...

    @property
    def closed(self) -> bool:
        return bool(self._pointer == ffi.NULL)

    @property
    def pointer(self) -> Any:
        """What C's functions take. UsageError once it is closed."""
        if self.closed:
            raise UsageError(f"this {type(self).__name__} is closed")
        return self._pointer

    def close(self) -> None:
        """Gives back all that it holds. Twice is once."""
        if not self.closed:
            self._give_back()
        self._pointer = ffi.NULL

    def __enter__(self: H) -> H:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
