"""Retrieval questions about bags of the procedural world, in the layout of POP-3D's benchmark."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from occ_perception.eval.retrieval_set import PLACES, QUERIES
from occ_training.world.config import WorldConfig
from occ_training.world.frames import Parts, make_frames
from occ_training.world.retrieval import queries, visible_points
from occ_training.world.scene import build_scene


@dataclass(frozen=True)
class AskedStreet:
    """A street, and where its bag is.

    Attributes:
        config: What the bag was computed of.
        bag: Name of the bag.
        split: Name of the split it counts for.
    """

    config: WorldConfig
    bag: str
    split: str = "val"


def write_retrieval(
    streets: Iterable[AskedStreet], frames: Sequence[int], folder: Path, least: int = 10
) -> int:
    """Write the questions about some key frames of streets.

    Args:
        streets: Which streets.
        frames: Numbers of the key frames, in every street.
        folder: Is made.
        least: Points that a text must mean for the question to be asked, among visible ones.

    Returns:
        Number of questions.
    """
    for name in ("annotations", "matching_points"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    asked, places = [], []
    for street in streets:
        scene = build_scene(street.config)
        for frame in make_frames(street.config, Parts(colour=False, voxels=False), frames):
            token = f"{street.bag}_{frame.index:03d}"
            places.append((token, street.bag, frame.stamp_ns))
            seen = visible_points(frame.sweep, list(frame.pictures.values()))
            visible = f"matching_points/{token}__points.npy"
            np.save(folder / visible, seen)
            for number, query in enumerate(queries(scene, frame.sweep)):
                if query.hit[seen].sum() < least:
                    continue
                hits = f"annotations/{token}_{number:02d}__retrieval.npy"
                np.save(folder / hits, query.hit.astype(np.uint8))
                asked.append((token, street.split, hits, visible, query.text))
    for name, rows in ((QUERIES, asked), (PLACES, places)):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=";").writerows(rows)
    return len(asked)
