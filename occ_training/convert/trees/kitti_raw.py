"""A KITTI Raw tree: a day with its calibration, and drives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from occ_perception.geometry.transforms import Matrix
from occ_training.convert.oxts import EARTH_RADIUS_M
from occ_training.convert.trees.files import (
    local_time,
    numbers,
    write_array,
    write_lines,
    write_png,
    write_table,
)

ORIGIN_DEG = (49.0, 8.4)  # latitude and longitude of the world's origin
DATAFORMAT = (
    "lat", "lon", "alt", "roll", "pitch", "yaw", "vn", "ve", "vf", "vl", "vu", "ax", "ay", "az",
    "af", "al", "au", "wx", "wy", "wz", "wf", "wl", "wu", "pos_accuracy", "vel_accuracy",
    "navstat", "numsats", "posmode", "velmode", "orimode",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class RawFrame:
    """One frame of a drive.

    Attributes:
        images: By folder, image_00 to image_03.
        image_stamps_ns: Of the images, by folder.
        sweep: `[n, 4]` x, y, z, reflectance, not motion-corrected.
        sweep_ns: Start, middle and end of the turn.
        T_enu_imu: Pose of the IMU in east, north, up around the origin.
        oxts_ns: Time of that pose.
        motion: Velocities, accelerations and turn rates by their names in dataformat.txt.
    """

    images: Mapping[str, npt.NDArray[np.uint8]]
    image_stamps_ns: Mapping[str, int]
    sweep: npt.NDArray[np.float32]
    sweep_ns: tuple[int, int, int]
    T_enu_imu: Matrix
    oxts_ns: int
    motion: Mapping[str, float] = field(default_factory=dict)


def write_day(
    day: Path,
    cameras: Mapping[str, npt.ArrayLike],
    T_camera_velodyne: Matrix,
    T_velodyne_imu: Matrix,
) -> None:
    """The three calibration files.

    Args:
        day: Folder of the day.
        cameras: Lines of calib_cam_to_cam.txt: S, K, D, R, T, S_rect, R_rect, P_rect per camera.
        T_camera_velodyne: Velodyne to unrectified camera 0.
        T_velodyne_imu: IMU to velodyne.
    """
    write_table(day / "calib_cam_to_cam.txt", cameras)
    for name, T in (("velo_to_cam", T_camera_velodyne), ("imu_to_velo", T_velodyne_imu)):
        write_table(day / f"calib_{name}.txt", {"R": T[:3, :3], "T": T[:3, 3]})


def write_drive(folder: Path, frames: Sequence[RawFrame]) -> None:
    """A drive: images, sweeps and measurements with their times."""
    for number, frame in enumerate(frames):
        name = f"{number:010d}"
        for camera, pixels in frame.images.items():
            write_png(folder / camera / "data" / f"{name}.png", pixels)
        write_array(folder / "velodyne_points" / "data" / f"{name}.bin", frame.sweep, "<f4")
        write_lines(folder / "oxts" / "data" / f"{name}.txt", [oxts_line(frame)])
    write_lines(folder / "oxts" / "dataformat.txt", DATAFORMAT)
    for camera in frames[0].images:
        stamps = [frame.image_stamps_ns[camera] for frame in frames]
        write_lines(folder / camera / "timestamps.txt", map(local_time, stamps))
    write_lines(folder / "oxts" / "timestamps.txt", (local_time(f.oxts_ns) for f in frames))
    for at, suffix in enumerate(("_start", "", "_end")):
        path = folder / "velodyne_points" / f"timestamps{suffix}.txt"
        write_lines(path, (local_time(f.sweep_ns[at]) for f in frames))


def oxts_line(frame: RawFrame) -> str:
    """The 30 numbers of a measurement: Mercator's inverse for the place, then roll, pitch, yaw."""
    east, north, up = frame.T_enu_imu[:3, 3]
    latitude, longitude = ORIGIN_DEG
    scale = math.cos(math.radians(latitude))
    origin_north = math.log(math.tan(math.radians(90 + latitude) / 2))
    lon = longitude + math.degrees(east / (scale * EARTH_RADIUS_M))
    lat = (
        math.degrees(2 * math.atan(math.exp(north / (scale * EARTH_RADIUS_M) + origin_north))) - 90
    )
    R = frame.T_enu_imu[:3, :3]
    roll, yaw = math.atan2(R[2, 1], R[2, 2]), math.atan2(R[1, 0], R[0, 0])
    pitch = math.atan2(-R[2, 0], math.hypot(R[2, 1], R[2, 2]))
    known = {"lat": lat, "lon": lon, "alt": up, "roll": roll, "pitch": pitch, "yaw": yaw}
    values = [(known | dict(frame.motion)).get(name, 0.0) for name in DATAFORMAT]
    return numbers(values)
