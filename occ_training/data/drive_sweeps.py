"""The sweeps of a drive in one frame, as if the scanner had stood still during each turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from occ_training.data.samples import Points

Floats = npt.NDArray[np.floating]


class Sweep(NamedTuple):
    """One turn of the scanner.

    Attributes:
        origins: `[n, 3]` where each beam starts, metres; world axes.
        ends: `[n, 3]` where it ends.
    """

    origins: Floats
    ends: Floats


class DriveSweeps(NamedTuple):
    """All sweeps of a drive.

    Attributes:
        start: `[3]` place in the world that their coordinates count from, which may be kilometres
            from the world's origin.
        sweeps: In order.
    """

    start: Floats
    sweeps: Sequence[Sweep]


def drive_sweeps(points: Sequence[Points], spacing_m: float, turn_s: float) -> DriveSweeps:
    """All sweeps of a drive, those between the images too, some way apart.

    Args:
        points: In order, with poses.
        spacing_m: Least way between two of them.
        turn_s: Time of a turn of a scanner whose points are not motion-corrected: clockwise, first
            backwards, forwards at the stamp. 0 = they are.
    """
    poses = [each.T_world_base @ each.T_base_sensor for each in points]
    places = np.array([T[:3, 3] for T in poses])
    times = np.array([each.stamp_ns for each in points]) / 1e9
    speeds = np.gradient(places, times, axis=0) if len(points) > 1 else np.zeros((1, 3))
    sweeps, last = [], None
    for each, T, place, speed in zip(points, poses, places - places[0], speeds, strict=True):
        if last is not None and np.linalg.norm(place - last) < spacing_m:
            continue
        last, xyz = place, each.xyz
        late = -turn_s * np.arctan2(xyz[:, 1], xyz[:, 0]) / (2 * np.pi)
        origins = (place + late[:, None] * speed).astype(np.float32)
        sweeps.append(Sweep(origins, xyz @ T[:3, :3].T.astype(np.float32) + origins))
    return DriveSweeps(places[0], sweeps)
