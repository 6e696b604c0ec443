"""Boxes around instances, as data sets annotate them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from occ_perception.geometry.transforms import inverse, rotation_rpy
from occ_training.world.scene import Scene

FloatArray = npt.NDArray[np.float64]
_STEP_S = 0.05


@dataclass(frozen=True, eq=False)
class InstanceBox:
    """One annotated thing.

    Attributes:
        instance_id: 1..N in the scene.
        class_id: Internal class.
        color: Name of its colour.
        moving: Whether it belongs to a moving body.
        T_world_box: `[4, 4]` centre and axes of the box; x points forward.
        size_m: Length, width, height.
        velocity_mps: `[3]` in the world.
    """

    instance_id: int
    class_id: int
    color: str
    moving: bool
    T_world_box: FloatArray
    size_m: tuple[float, float, float]
    velocity_mps: FloatArray


def instance_boxes(scene: Scene, t: float) -> list[InstanceBox]:
    """Tight boxes of all instances at a time."""
    prims = scene.without_ego.posed(scene.bodies.poses(t))
    out = []
    for row in scene.instances:
        rows = np.flatnonzero(prims.instance_id == row["id"])
        body = int(row["body"])
        if body:
            T = scene.bodies.pose(body, np.float64(t))
        else:
            R = prims.rotation[rows[0]]
            T = np.eye(4)
            T[:3, :3] = rotation_rpy(0.0, 0.0, math.atan2(R[1, 0], R[0, 0]))
            T[:3, 3] = prims.center[rows[0]]
        to_local = inverse(T)
        center = prims.center[rows] @ to_local[:3, :3].T + to_local[:3, 3]
        reach = (abs(to_local[:3, :3] @ prims.rotation[rows]) @ prims.half[rows][..., None])[..., 0]
        low, high = (center - reach).min(0), (center + reach).max(0)
        length, width, height = (float(v) for v in high - low)
        T_box = T.copy()
        T_box[:3, 3] = T[:3, :3] @ (low + high) / 2 + T[:3, 3]
        ends = scene.bodies.pose(body, np.array([t - _STEP_S, t + _STEP_S]))[:, :3, 3]
        out.append(
            InstanceBox(
                int(row["id"]),
                int(row["class_id"]),
                str(row["color"]),
                body > 0,
                T_box,
                (length, width, height),
                (ends[1] - ends[0]) / (2 * _STEP_S),
            )
        )
    return out
