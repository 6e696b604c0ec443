"""Parity cases as they lie on disk: a JSON description, an npz of references, a manifest.

Nothing about a case is known before its files are read, so any set of the same form (other salts,
seeds, calibrations) runs through the same adapters.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from parity.fill import fill_tensor

Array = npt.NDArray[Any]
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


@dataclass(frozen=True)
class Reference:
    """One stored array.

    Attributes:
        name: Name in the npz.
        values: What was stored (already sliced).
        where: Which layer it is, in words.
        cut: The slice of the full tensor that was stored; empty = all of it.
        shape: Shape of the full tensor, or None when the JSON does not tell.
        stats: "mean", "std", "absmax" of the full tensor, as far as the JSON tells.
    """

    name: str
    values: Array
    where: str = ""
    cut: tuple[slice, ...] = ()
    shape: tuple[int, ...] | None = None
    stats: Mapping[str, float] = field(default_factory=dict)

    @property
    def std(self) -> float:
        """Standard deviation of the full tensor (of the stored part when not told)."""
        return float(self.stats.get("std", np.std(self.values.astype(np.float64))))


@dataclass(frozen=True)
class Case:
    """One parity case: `<golden>/<system>/<name>.json` and `.npz`."""

    folder: Path
    name: str

    @property
    def system(self) -> str:
        """Name of the system's folder."""
        return self.folder.name

    @functools.cached_property
    def spec(self) -> dict[str, Any]:
        """The JSON description."""
        text = (self.folder / f"{self.name}.json").read_text(encoding="utf-8")
        return dict(json.loads(text))

    @functools.cached_property
    def stored(self) -> dict[str, Array]:
        """All arrays of the npz."""
        with np.load(self.folder / f"{self.name}.npz", allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    @property
    def salt(self) -> str:
        """Salt of the weights."""
        return str(self.spec["salt"])

    def rng(self, offset: int = 0) -> np.random.Generator:
        """A fresh generator at the case's seed (plus `offset`)."""
        return np.random.Generator(np.random.PCG64(int(self.spec["seed"]) + offset))

    def references(self) -> dict[str, Reference]:
        """Every stored array with what the JSON says about it."""
        told = self.spec.get("arrays")
        return {
            name: _reference(name, values, told.get(name) if isinstance(told, dict) else None)
            for name, values in self.stored.items()
        }

    def value(self, path: str) -> Any:
        """An entry of the JSON by its dotted path, e.g. `"values.loss"`."""
        return functools.reduce(lambda node, key: node[key], path.split("."), self.spec)

    def text(self, path: str = "inputs") -> str:
        """An entry of the JSON as one text."""
        value = self.value(path)
        return value if isinstance(value, str) else json.dumps(value)

    def numbers(self, pattern: str, path: str = "inputs") -> list[float]:
        """All numbers inside the first group of `pattern` found in a text of the JSON.

        Raises:
            ValueError: The text does not hold the pattern.
        """
        found = re.search(pattern, self.text(path))
        if found is None:
            raise ValueError(f"{self.system}/{self.name}: no /{pattern}/ in its '{path}' text")
        return [float(number) for number in re.findall(_NUMBER, found.group(1))]

    def integers(self, pattern: str, path: str = "inputs") -> tuple[int, ...]:
        """`numbers` as integers, e.g. a shape."""
        return tuple(int(number) for number in self.numbers(pattern, path))


def _reference(name: str, values: Array, told: object) -> Reference:
    if not isinstance(told, dict):
        return Reference(name, values, where=told if isinstance(told, str) else "")
    shape = told.get("full_shape", told.get("shape"))
    return Reference(
        name,
        values,
        where=told.get("where", ""),
        cut=parse_slice(told.get("stored_slice", "")),
        shape=tuple(shape) if shape is not None else None,
        stats={key: told[key] for key in ("mean", "std", "absmax") if key in told},
    )


def parse_slice(text: str) -> tuple[slice, ...]:
    """Read `"tensor[0::1, 3::8]"` into slices; an empty text is an empty tuple."""
    inside = re.search(r"\[(.*)\]", text)
    if inside is None:
        return ()
    return tuple(
        slice(*(int(bound) if bound.strip() else None for bound in part.split(":")))
        for part in inside.group(1).split(",")
    )


class Weights:
    """Official state dict of a case, rebuilt from the manifest's names and shapes and the salt."""

    def __init__(self, folder: Path, salt: str) -> None:
        """Read the manifest.

        Args:
            folder: The system's golden folder.
            salt: Salt of the case.
        """
        self.manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.salt = salt
        self.constants = frozenset(self.manifest.get("constants", ()))
        self.scale: Mapping[str, float] = self.manifest.get("scale", {})

    def official(self, prefix: str = "", section: str = "state_dict") -> dict[str, Tensor]:
        """Filled tensors of all keys that start with `prefix`, without the computed constants."""
        return dict(self._filled(prefix, section))

    def _filled(self, prefix: str, section: str) -> Iterator[tuple[str, Tensor]]:
        for key, shape in self.manifest[section].items():
            if key.startswith(prefix) and key not in self.constants:
                tensor = torch.from_numpy(fill_tensor(key, shape, self.salt))
                yield key, tensor * self.scale[key] if key in self.scale else tensor


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """The fixtures' way to draw a float32 tensor."""
    return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))


def find_cases(golden: Path, system: str) -> list[Case]:
    """All cases of a system: every JSON that has an npz beside it."""
    folder = golden / system
    return [
        Case(folder, path.stem)
        for path in sorted(folder.glob("*.json"))
        if path.with_suffix(".npz").is_file()
    ]
