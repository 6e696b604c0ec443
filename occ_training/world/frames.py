"""Whole frames: what bag writer and data set writers take everything from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt

from occ_training.world.config import WorldConfig
from occ_training.world.lidar import LidarSweep, sweep_lidar
from occ_training.world.masks import Mask, camera_mask
from occ_training.world.render import CameraRender, render_camera
from occ_training.world.scene import Scene, build_scene
from occ_training.world.sensed import Mapper, SensedTruth
from occ_training.world.voxels import ExactTruth, exact_truth

VOXELS_EVERY = 5  # SemanticKITTI and SSCBench; nuScenes has truth at every key


@dataclass(frozen=True)
class Parts:
    """What to compute of a frame.

    Attributes:
        colour: Colour pictures; without them depth and classes only.
        lidar: The sweep.
        voxels: Exact and sensed truth and masks, on frames that have them.
        cameras: Names of the cameras, None for all.
    """

    colour: bool = True
    lidar: bool = True
    voxels: bool = True
    cameras: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class VoxelTruth:
    """Truth of one frame in the rig's grid.

    Attributes:
        exact: What is there.
        sensed: What scanning the drive tells, None for a rig without scanner.
        camera_mask: `[X, Y, Z]` what this frame's cameras see.
        lidar_mask: `[X, Y, Z]` what this frame's sweep entered or hit.
        T_world_grid: `[4, 4]` pose of the grid's frame.
    """

    exact: ExactTruth
    sensed: SensedTruth | None
    camera_mask: Mask
    lidar_mask: Mask
    T_world_grid: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Frame:
    """One key frame.

    Attributes:
        index: Number in the scene.
        time_s: Reference time (LiDAR stamp), seconds since the scene's start.
        stamp_ns: The same as nanoseconds since the Unix epoch.
        T_world_base: `[4, 4]` true ego pose at the reference time.
        pictures: Renders by camera name; each has its own time and pose.
        sweep: The LiDAR sweep, None without scanner.
        voxels: Truth, None on frames without.
    """

    index: int
    time_s: float
    stamp_ns: int
    T_world_base: npt.NDArray[np.float64]
    pictures: Mapping[str, CameraRender] = field(default_factory=dict)
    sweep: LidarSweep | None = None
    voxels: VoxelTruth | None = None


def has_voxels(scene: Scene, index: int) -> bool:
    """Whether the data set of this rig has voxel truth at a frame."""
    return scene.rig.grid.frame_id == "ego" or index % VOXELS_EVERY == 0


def make_frame(scene: Scene, mapper: Mapper, index: int, parts: Parts = Parts()) -> Frame:
    """Compute one frame."""
    t = float(scene.frame_times[index])
    pictures = {
        c.name: render_camera(scene, c, t + c.delay_s, colour=parts.colour)
        for c in scene.rig.cameras
        if parts.cameras is None or c.name in parts.cameras
    }
    lidar = scene.rig.lidar
    sweep = sweep_lidar(scene, lidar, t) if lidar and (parts.lidar or parts.voxels) else None
    voxels = None
    if parts.voxels and has_voxels(scene, index):
        voxels = _truth(scene, mapper, t, pictures, sweep)
    return Frame(index, t, scene.stamp_ns(t), np.array(scene.pose(t)), pictures, sweep, voxels)


def _truth(
    scene: Scene,
    mapper: Mapper,
    t: float,
    pictures: Mapping[str, CameraRender],
    sweep: LidarSweep | None,
) -> VoxelTruth:
    grid = scene.rig.grid
    T = scene.pose(t) @ scene.rig.T_base_grid
    sensed = None if sweep is None else mapper.truth(t, sweep)
    lidar_mask = np.zeros(grid.shape, dtype=np.bool_) if sensed is None else ~sensed.occluded
    seen = camera_mask(grid, T, pictures.values())
    return VoxelTruth(exact_truth(scene, t), sensed, seen, lidar_mask, T)


@lru_cache(maxsize=1)
def _worker_scene(config: WorldConfig) -> tuple[Scene, Mapper]:
    scene = build_scene(config)
    return scene, Mapper(scene)


def _work(config: WorldConfig, index: int, parts: Parts) -> Frame:
    return make_frame(*_worker_scene(config), index, parts)


def make_frames(
    config: WorldConfig,
    parts: Parts = Parts(),
    indices: Sequence[int] | None = None,
    jobs: int = 1,
) -> Iterator[Frame]:
    """Frames of a scene, in order.

    Args:
        config: The scene.
        parts: What to compute.
        indices: Frames to make, all by default.
        jobs: Processes; every one builds the scene for itself, results do not depend on it.
    """
    indices = range(config.frames) if indices is None else indices
    if jobs <= 1:
        scene = build_scene(config)
        mapper = Mapper(scene)
        for index in indices:
            yield make_frame(scene, mapper, index, parts)
        return
    # Spawned: forking a process that has torch threads can hang.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_work, *zip(*((config, i, parts) for i in indices), strict=True))
