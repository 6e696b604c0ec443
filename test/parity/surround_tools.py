"""What the adapters of the two surround systems share: tolerances, inputs, statistics."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from occ_perception.core.grid import GridSpec
from occ_perception.geometry.transforms import Matrix, transform
from parity.cases import Array, Case, Reference
from parity.compare import Rule

GRID = GridSpec((-40.0, -40.0, -1.0), (0.4, 0.4, 0.4), (200, 200, 16), "base_link")


def mostly(share: float, atol: float, rtol: float = 0.0, of_largest: float = 0.0) -> Rule:
    """At least `share` of the elements within `atol + rtol * |ref| + of_largest * max |full|`."""

    def rule(ours: Array, reference: Reference) -> str | None:
        wanted = reference.values.astype(np.float64)
        largest = float(reference.stats.get("absmax", np.abs(wanted).max(initial=0.0)))
        allowed = atol + rtol * np.abs(wanted) + of_largest * largest
        difference = np.abs(ours.astype(np.float64) - wanted)
        inside = float((difference <= allowed).mean())  # written so that NaN fails
        if inside >= share:
            return None
        return f"{inside:.4%} within tolerance, not {share:.3%}; max diff {difference.max():.3g}"

    return rule


def norm_distance(limit: float) -> Rule:
    """Distance of the whole tensor relative to its norm."""

    def rule(ours: Array, reference: Reference) -> str | None:
        wanted = reference.values.astype(np.float64)
        distance = float(np.linalg.norm(ours - wanted) / np.linalg.norm(wanted))
        return None if distance <= limit else f"relative L2 {distance:.3g}, limit {limit:g}"

    return rule


@functools.cache
def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"golden_inputs_{path.parent.name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def told_input(case: Case, name: str, path: str = "inputs", which: int = 0) -> Any:
    """Result of the `which`-th `inputs.name(number)` that a text of the case tells."""
    seeds = re.findall(rf"inputs\.{name}\(([\d, ]+)\)", case.text(path))
    arguments = [int(n) for n in seeds[which].split(",")]
    return getattr(_module(case.folder / "inputs.py"), name)(*arguments)


def inputs_module(case: Case) -> ModuleType:
    """The fixtures' own generators, `inputs.py` beside the case."""
    return _module(case.folder / "inputs.py")


def told_slices(text: str) -> tuple[slice, ...]:
    """The last bracket of a text as slices; a single number is an index."""
    parts = re.findall(r"\[([^\[\]]*:[^\[\]]*)\]", text)[-1].split(",")
    return tuple(slice(*(int(b) if b.strip() else None for b in p.split(":"))) for p in parts)


def stats(tensor: Tensor) -> Tensor:
    """[mean, population std, max abs]."""
    t = tensor.double()
    return torch.stack([t.mean(), t.std(unbiased=False), t.abs().max()])


def pose(entry: dict[str, Any], name: str) -> Matrix:
    """Transform of an info entry: `<name>_translation` and `<name>_rotation` (w, x, y, z)."""
    return transform(entry[f"{name}_translation"], np.roll(entry[f"{name}_rotation"], -1))
