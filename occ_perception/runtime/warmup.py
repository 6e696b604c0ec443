"""Run a system on a synthetic rig, so that the first image meets warm kernels and memory."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from occ_perception.core.camera import Camera
from occ_perception.core.types import CameraFrame
from occ_perception.geometry.transforms import R_BODY_OPTICAL
from occ_perception.systems.base import Context, OccupancySystem

# The rig most systems were trained on: KITTI's rectified colour cameras.
WIDTH, HEIGHT = 1241, 376
FOCAL_PX = 718.856
CENTER_PX = (607.19, 185.22)
BASELINE_M = 0.54


@dataclass(frozen=True)
class WarmUp:
    """How long frame sets took, preprocessing included, seconds."""

    first_s: float
    best_s: float


def synthetic_frames(system: OccupancySystem, seed: int = 0) -> tuple[CameraFrame, ...]:
    """One frame of noise per camera of the system, all looking forward at the grid's origin.

    Args:
        system: Its `needs` say how many cameras there are.
        seed: Seed of the noise.
    """
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3] = R_BODY_OPTICAL
    frames = []
    for index, name in enumerate(system.needs.cameras):
        shift_px = -FOCAL_PX * BASELINE_M * index if system.needs.stereo else 0.0
        P = np.array(
            [[FOCAL_PX, 0, CENTER_PX[0], shift_px], [0, FOCAL_PX, CENTER_PX[1], 0], [0, 0, 1, 0]]
        )
        image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        frames.append(CameraFrame(image, Camera(name, P, WIDTH, HEIGHT, pose), stamp_ns=0))
    return tuple(frames)


def warm_up(system: OccupancySystem, runs: int = 2) -> WarmUp:
    """Answer synthetic frames `runs` times (at least once) and leave no history behind.

    Raises:
        OccError: The system cannot answer even this; it would fail on every image.
    """
    frames = synthetic_frames(system)
    motion = np.eye(4) if system.needs.ego_motion else None
    times = []
    for run in range(max(1, runs)):
        start_s = time.perf_counter()
        with torch.inference_mode():
            views = [system.preprocess(frame) for frame in frames]
            labels = system.infer(views, Context(stamp_ns=run, T_world_base=motion)).labels
        if labels.is_cuda:
            torch.cuda.synchronize(labels.device)
        times.append(time.perf_counter() - start_s)
    system.reset()
    return WarmUp(first_s=times[0], best_s=min(times))
