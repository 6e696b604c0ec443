"""Where everything goes: optical flow between pictures, scene flow of voxels and instances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from occ_perception.core.grid import GridSpec
from occ_perception.geometry.transforms import inverse
from occ_training.world.render import CameraRender
from occ_training.world.scene import Scene
from occ_training.world.voxels import ExactTruth

FloatArray = npt.NDArray[np.float64]
# A target pixel shows the same point if its distance agrees this well.
_SAME_M, _SAME_SHARE = 0.08, 0.02


@dataclass(frozen=True, eq=False)
class Flow:
    """Optical flow from one picture to another.

    Attributes:
        uv: `[H, W, 2]` float32 pixels to add to a pixel's (u, v); 0 where unknown.
        valid: `[H, W]` bool: the point projects into the other picture.
        visible: `[H, W]` bool: and is not hidden there.
    """

    uv: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    visible: npt.NDArray[np.bool_]


def carried(
    scene: Scene, points: FloatArray, body: npt.NDArray, t0: float, t1: float
) -> FloatArray:
    """World points `[N, 3]` at `t0` moved with their bodies to `t1`."""
    motion = scene.bodies.poses(t1) @ np.linalg.inv(scene.bodies.poses(t0))
    M = motion[body]
    return np.einsum("nij,nj->ni", M[:, :3, :3], points) + M[:, :3, 3]


def optical_flow(scene: Scene, source: CameraRender, target: CameraRender) -> Flow:
    """Flow of every surface pixel of `source` to its place in `target`.

    The pictures may differ in time, camera, or both (stereo).
    """
    lens = source.camera.lens
    v, u = np.nonzero(source.surface)
    pixel = np.stack((u, v), -1).astype(np.float64)
    ray, _ = lens.rays(pixel)
    T = source.T_world_cam
    points = (ray * source.distance_m[v, u, None]) @ T[:3, :3].T + T[:3, 3]
    points = carried(scene, points, source.body[v, u], source.time_s, target.time_s)
    to_cam = inverse(target.T_world_cam)
    local = points @ to_cam[:3, :3].T + to_cam[:3, 3]
    goal, inside = target.camera.lens.project(local)
    uv = np.zeros((lens.height, lens.width, 2), dtype=np.float32)
    valid = np.zeros((lens.height, lens.width), dtype=np.bool_)
    visible = np.zeros_like(valid)
    uv[v, u] = np.where(inside[:, None], goal - pixel, 0.0)
    valid[v, u] = inside
    reach = np.linalg.norm(local, axis=1)
    there = np.clip(np.rint(np.where(inside[:, None], goal, 0.0)).astype(np.int64), 0, None)
    row = np.minimum(there[:, 1], target.distance_m.shape[0] - 1)
    column = np.minimum(there[:, 0], target.distance_m.shape[1] - 1)
    behind = reach - target.distance_m[row, column]
    visible[v, u] = inside & (behind < _SAME_M + _SAME_SHARE * reach)
    return Flow(uv, valid, visible)


def instance_motion(scene: Scene, t0: float, t1: float) -> dict[int, FloatArray]:
    """Rigid motion `[4, 4]` of moving instances from `t0` to `t1`, in the base frame of `t0`."""
    T_base_world = inverse(scene.pose(t0))
    motion = scene.bodies.poses(t1) @ np.linalg.inv(scene.bodies.poses(t0))
    T_world_base = scene.pose(t0)
    return {
        int(row["id"]): T_base_world @ motion[int(row["body"])] @ T_world_base
        for row in scene.instances
        if row["body"]
    }


def voxel_flow(
    scene: Scene,
    truth: ExactTruth,
    grid: GridSpec,
    T_world_grid: FloatArray,
    t0: float,
    t1: float,
) -> npt.NDArray[np.float32]:
    """Scene flow `[X, Y, Z, 3]` float32 from `t0` to `t1`, metres, in the grid's frame of `t0`.

    Zero for the static world: the ego motion is not part of it.
    """
    out = np.zeros((*grid.shape, 3), dtype=np.float32)
    index = np.argwhere(truth.body > 0)
    if len(index):
        centre = grid.center_of(index)
        R, t = T_world_grid[:3, :3], T_world_grid[:3, 3]
        world = centre @ R.T + t
        body = truth.body[tuple(index.T)]
        out[tuple(index.T)] = (carried(scene, world, body, t0, t1) - world) @ R
    return out
