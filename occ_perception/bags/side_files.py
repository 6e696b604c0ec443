"""Arrays that follow from a bag, kept beside it, or in the user's cache if it is read-only."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[np.generic]]


def side_file(
    path: Path, identity: str, name: str, make: Callable[[], Arrays]
) -> dict[str, npt.NDArray[np.generic]]:
    """Arrays that follow from a bag: read if they are stored and belong to it, else made and kept.

    Args:
        path: Folder of a bag, or a file of it.
        identity: Of the bag's files; what was stored for another one does not count.
        name: Name of the file beside the bag.
        make: Makes the arrays.
    """
    for place in side_places(path, identity, name):
        with suppress(OSError, ValueError, KeyError, EOFError, BadZipFile), np.load(place) as file:
            if file["identity"].tobytes().decode() == identity:
                return {key: file[key] for key in file.files}
    arrays = dict(make()) | {"identity": np.frombuffer(identity.encode(), np.uint8)}
    for place in side_places(path, identity, name):
        if _save(arrays, place):
            break
    return arrays


def side_places(path: Path, identity: str, name: str) -> list[Path]:
    """Where such a file may be kept: beside the bag, else in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    beside = [path / name] if path.is_dir() else []
    return [*beside, cache / "occ_perception" / "bags" / identity[:32] / name]


def _save(arrays: Arrays, place: Path) -> bool:
    """Write under a temporary name first; False where this place cannot be written to."""
    temporary = place.with_name(f"{place.name}.{os.getpid()}.partial")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, **arrays)
        os.replace(temporary, place)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        return False
    return True


def json_array(value: object) -> npt.NDArray[np.uint8]:
    """A JSON value as an array, to be stored beside others."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def from_json_array(array: npt.NDArray[np.generic]) -> Any:
    """Inverse of `json_array`."""
    return json.loads(array.tobytes())
