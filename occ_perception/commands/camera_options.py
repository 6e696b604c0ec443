"""Cameras that a bag does not make clear: which option names them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from occ_perception.core.errors import UnclearCamerasError


@contextmanager
def unclear_cameras(option: str) -> Iterator[None]:
    """Add to the sentence about cameras that are not clear with what option to name them.

    Raises:
        UnclearCamerasError: With the option.
    """
    try:
        yield
    except UnclearCamerasError as error:
        raise UnclearCamerasError(f"{error}. Say which: {option}") from None


def cameras_option(roles: Sequence[str]) -> str:
    """How `--cameras` is given for some roles."""
    return f"--cameras {' '.join(role.upper() for role in roles)} (topics)"
