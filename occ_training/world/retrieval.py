"""Retrieval questions about one sweep, answered from what the instances are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from occ_training.world.classes import Class
from occ_training.world.lidar import LidarSweep
from occ_training.world.render import CameraRender
from occ_training.world.scene import Scene
from occ_training.world.teachers import SYNONYMS

_NEAR_M = 2.5


@dataclass(frozen=True, eq=False)
class Query:
    """One text and its answer.

    Attributes:
        text: What is looked for.
        hit: `[N]` bool per LiDAR point of the sweep.
    """

    text: str
    hit: npt.NDArray[np.bool_]


def queries(scene: Scene, sweep: LidarSweep, most: int = 30) -> list[Query]:
    """Texts with at least one and not all points as an answer: class, colour, neighbourhood."""
    color_of = np.array(["", *(str(row["color"]) for row in scene.instances)])
    color = color_of[sweep.instance_id]
    out: list[Query] = []
    for class_id, names in SYNONYMS.items():
        of_class = sweep.class_id == class_id
        if not of_class.any():
            continue
        out.extend(Query(name, of_class) for name in names[:2])
        if class_id <= Class.MOTORCYCLIST:
            out.extend(
                Query(f"{c} {names[0]}", of_class & (color == c))
                for c in np.unique(color[of_class])
                if c
            )
    walls = sweep.world[np.isin(sweep.class_id, (Class.FENCE, Class.BUILDING))]
    persons = sweep.class_id == Class.PERSON
    if persons.any() and len(walls):
        near = np.zeros(len(persons), dtype=np.bool_)
        gap = np.linalg.norm(sweep.world[persons][:, None, :2] - walls[None, ::5, :2], axis=-1)
        near[persons] = gap.min(1) < _NEAR_M
        if near.any():
            out.append(Query("person near a wall", near))
    return out[:most]


def visible_points(sweep: LidarSweep, renders: list[CameraRender]) -> npt.NDArray[np.int64]:
    """Indices of the points that a camera sees."""
    seen = np.zeros(len(sweep.world), dtype=np.bool_)
    for render in renders:
        T = np.linalg.inv(render.T_world_cam)
        local = sweep.world @ T[:3, :3].T + T[:3, 3]
        uv, inside = render.camera.lens.project(local)
        u, v = (np.where(inside, np.rint(uv[:, i]), 0).astype(np.int64) for i in range(2))
        distance = np.linalg.norm(local, axis=1)
        seen |= inside & (distance < 1.03 * render.distance_m[v, u] + 0.2)
    return np.flatnonzero(seen)
