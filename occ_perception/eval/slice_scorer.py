"""Occupancy of the slice in front of a camera against LiDAR scans."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from occ_perception.core.errors import BagError, ConfigError
from occ_perception.core.grid import GridSpec
from occ_perception.core.types import CameraFrame, Prediction
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.lidar_occupancy import (
    SliceTruth,
    first_judged_row,
    occupancy_scores,
    slice_truth,
)
from occ_perception.eval.per_image import PerImage, Stamps
from occ_perception.geometry.transforms import Matrix, inverse
from occ_perception.systems.base import Context

# The published slice: 0.1 m cells, at a height of 0.375 m below a camera that looks 5 deg down.
_PITCH_RAD, _HEIGHT_M = 0.0872664626, 0.375
_CELLS_X, _CELLS_Z = 80, 160
_FEWEST_SCANS = 3  # two may see a point free that is occupied
_X_M, _Z_M = (-4.0, 4.0), (4.0, 20.0)


def level_pose() -> Matrix:
    """Pose of the camera in its level frame (x right, y down, z forward)."""
    c, s = np.cos(_PITCH_RAD), np.sin(_PITCH_RAD)
    T = np.eye(4)
    T[1:3, 1:3] = [[c, s], [-s, c]]
    return T


def slice_grid() -> GridSpec:
    """Cells whose centres are the published query points, in the level frame."""
    step_x = (_X_M[1] - _X_M[0]) / (_CELLS_X - 1)
    step_z = (_Z_M[1] - _Z_M[0]) / (_CELLS_Z - 1)
    origin = (_X_M[0] - step_x / 2, _HEIGHT_M - 0.05, _Z_M[0] - step_z / 2)
    return GridSpec(origin, (step_x, 0.1, step_z), (_CELLS_X, 1, _CELLS_Z), "level")


class SliceScorer(PerImage):
    """Occupancy of a horizontal slice against LiDAR scans (BTS, KYN, ViPOcc).

    Asks the field itself at the published points; the answer on the voxel grid plays no part.

    Args:
        system: A field, asked on another grid.
        scans: Scans that make the truth; KYN and ViPOcc took 300, BTS 20.
    """

    name = "lidar occupancy"

    def __init__(self, system: Any, scans: int = 20) -> None:
        super().__init__()
        if not hasattr(system, "field"):
            raise ConfigError("lidar occupancy is for density fields: vipocc and scenedino")
        # The same network with another grid; what was prepared for the old one is dropped.
        self._system = copy.copy(system)
        self._system.grid, self._system._last, self._system._fits = slice_grid(), None, {}
        self._scans = scans

    def open(self, frames: BagFrames) -> Stamps:
        """Begin with a bag.

        Raises:
            BagError: It has no LiDAR.
        """
        self._frames, self._topic = frames, frames.cloud_topic()
        stamps = frames.stamps_of(self._topic)
        if len(stamps) < _FEWEST_SCANS:
            raise BagError(f"bag {frames.bag} has {len(stamps)} LiDAR scans; three are needed")
        return Stamps(stamps[: 1 - _FEWEST_SCANS])

    def update(self, prediction: Prediction, stamp_ns: int) -> float | None:
        """Score the slice in front of one image.

        Raises:
            ConfigError: The answer is one for another place.
        """
        if prediction.stamp_ns != stamp_ns:
            raise ConfigError(
                "lidar occupancy asks the field itself about the right image, so images of other "
                "places are no control of it: leave out --shuffle, or score other benchmarks"
            )
        found = self._frames.at(stamp_ns)
        if found is None:
            return None
        truth = self._truth(stamp_ns)
        first = None if truth is None else first_judged_row(truth.visible)
        if first is None:
            return None
        given = self._answer(found.frames[0], stamp_ns)
        parts = (p[first:] for p in (given, truth.occupied & ~truth.visible, truth.visible))
        scores = occupancy_scores(*parts)
        names = ("O_acc", "IE_acc", "IE_rec")
        self.add(dict(zip(names, scores, strict=True)))
        return scores.accuracy

    def _answer(self, frame: CameraFrame, stamp_ns: int) -> Bool[Tensor, "z x"]:
        """`[160, 80]` rows of depth, the far one first."""
        camera = replace(frame.camera, T_base_cam=level_pose())
        view = self._system.preprocess(replace(frame, camera=camera))
        answer = self._system.infer([view], Context(stamp_ns))
        occupied = (answer.labels != self._system.labels.free_id) & answer.known
        return occupied[:, 0].T.flip(0).cpu()

    def _truth(self, stamp_ns: int) -> SliceTruth | None:
        """The same of the scans from this instant on; None where the drive ends."""
        stamps = [s for s in self._frames.stamps_of(self._topic) if s >= stamp_ns]
        if len(stamps) < _FEWEST_SCANS:
            return None
        camera = self._frames.cameras[0]
        T_level_world = level_pose() @ inverse(
            self._frames.T_world_grid(stamp_ns) @ camera.T_base_cam
        )
        scans, poses = [], []
        for scan_ns in stamps[: self._scans]:
            scan = self._frames.scan(self._topic, scan_ns)
            scans.append(torch.from_numpy(scan.points.astype(np.float32)))
            T_world_grid = self._frames.T_world_grid(scan_ns)
            poses.append(T_level_world @ T_world_grid @ scan.T_grid_lidar)
        points = slice_grid().centers()[:, 0].flip(1).transpose(0, 1).reshape(-1, 3)
        truth = slice_truth(scans, torch.from_numpy(np.stack(poses)).float(), points)
        return SliceTruth(*(part.view(_CELLS_Z, _CELLS_X) for part in truth))
