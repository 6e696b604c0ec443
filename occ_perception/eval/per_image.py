"""Scores per image, averaged over images: how depth and slices of occupancy are reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.scoring import Confusion, Scores
from occ_perception.eval.voxel_scorers import NOTHING


class Stamps(NamedTuple):
    """A truth that is known by its stamps alone.

    Attributes:
        stamps_ns: Instants that can be scored.
    """

    stamps_ns: Sequence[int]


@dataclass
class Means:
    """Scores per image, averaged over the images; images where one is not defined are left out.

    Attributes:
        rows: Scores of every image.
    """

    rows: list[Mapping[str, float]] = field(default_factory=list)

    def add(self, scores: Mapping[str, float]) -> None:
        """Another image."""
        self.rows.append(scores)

    def scores(self) -> Scores:
        """Mean of every score; None where no image defines it."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        found = {n: np.array([row[n] for row in self.rows if n in row], float) for n in names}
        return {n: float(np.nanmean(v)) if np.isfinite(v).any() else None for n, v in found.items()}


class PerImage:
    """What benchmarks have in common that average over images."""

    name = "images"
    wanted = NOTHING

    def __init__(self) -> None:
        self._means = Means()
        self._frames: BagFrames | None = None

    def add(self, scores: Mapping[str, float]) -> None:
        """Another image."""
        self._means.add(scores)

    def scores(self) -> Scores:
        """Means over all images."""
        return self._means.scores()

    def classes(self) -> Mapping[str, Scores]:
        """No classes."""
        return {}

    def confusion(self) -> Confusion | None:
        """No classes."""
        return None
