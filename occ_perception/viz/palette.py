"""Colours of pictures. Three things never look alike: occupied, free and unknown."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from occ_perception.core.labels import LabelMap

Rgb = tuple[int, int, int]
Image = npt.NDArray[np.uint8]

PAPER: Rgb = (255, 255, 255)
INK: Rgb = (33, 37, 41)
FAINT: Rgb = (140, 146, 152)
FREE: Rgb = (250, 250, 250)
UNKNOWN: Rgb = (205, 208, 212)
UNKNOWN_LINE: Rgb = (170, 174, 180)
BLOCKED: Rgb = (45, 48, 56)
ROBOT: Rgb = (0, 102, 204)

HATCH_STEP_PX = 7


def hatch(height: int, width: int) -> Image:
    """The pattern that means unknown, `[height, width, 3]`: grey with diagonal lines."""
    row, column = np.indices((height, width))
    line = (row + column) % HATCH_STEP_PX == 0
    return np.where(line[..., None], UNKNOWN_LINE, UNKNOWN).astype(np.uint8)


def classes_present(labels: npt.NDArray[np.uint8], label_map: LabelMap) -> list[int]:
    """Occupied ids that occur, in the order of the map; ids that the map lacks come last."""
    present = set(np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist())
    present -= {label_map.free_id, label_map.unknown_id}
    named = [i for i in label_map.ids if i in present]
    return named + sorted(present - set(named))


def name_of(label: int, label_map: LabelMap) -> str:
    """Class name for a legend; an id without a name says so."""
    if label not in label_map.ids:
        return f"id {label} (not in map)"
    return label_map.names[label_map.ids.index(label)]


def blocked_shade(cells: npt.NDArray[np.int8]) -> Image:
    """Colours `[..., 3]` of OccupancyGrid values, free (0, also -1) to blocked (100)."""
    share = np.clip(cells, 0, 100)[..., None] / 100.0
    return np.round((1 - share) * np.array(FREE) + share * np.array(BLOCKED)).astype(np.uint8)
