"""KITTI Raw's IMU with GPS: measurements to poses and messages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from occ_perception.geometry.transforms import (
    Matrix,
    inverse,
    quaternion_from_matrix,
    rotation_rpy,
    transform,
)
from occ_training.convert import messages
from occ_training.convert.files import check_numbers, read_text
from occ_training.convert.messages import Outgoing
from occ_training.convert.report import Report

EARTH_RADIUS_M = 6_378_137.0  # of KITTI's Mercator projection
OXTS_NUMBERS = 30
IMU = "imu_link"


class Oxts(NamedTuple):
    """One measurement of the IMU with GPS, in SI units and radians."""

    values: list[float]

    @property
    def position(self) -> tuple[float, float, float]:
        """Latitude and longitude in degrees, altitude in metres."""
        lat, lon, alt = self.values[:3]
        return lat, lon, alt

    @property
    def rotation(self) -> Matrix:
        """`[3, 3]` IMU axes in east, north, up."""
        return rotation_rpy(*self.values[3:6])


def read_oxts(files: Mapping[int, Path], report: Report) -> dict[int, Oxts]:
    """Measurements by frame; damaged ones are reported and left out."""
    measured: dict[int, Oxts] = {}
    for number, path in files.items():
        with report.tolerating():
            values = check_numbers(path, read_text(path).split()[:OXTS_NUMBERS], OXTS_NUMBERS, 1)
            measured[number] = Oxts(values)
    return measured


def poses_of_base(measured: Mapping[int, Oxts], T_base_imu: Matrix) -> dict[int, Matrix]:
    """Poses of the base in east, north, up; the origin is its place at the first frame."""
    if not measured:
        return {}
    first = next(iter(measured.values()))
    scale = math.cos(math.radians(first.position[0]))
    poses = {}
    for number, oxts in measured.items():
        lat, lon, alt = oxts.position
        east = scale * EARTH_RADIUS_M * math.radians(lon)
        north = scale * EARTH_RADIUS_M * math.log(math.tan(math.radians(90 + lat) / 2))
        T_mercator_imu = transform((east, north, alt))
        T_mercator_imu[:3, :3] = oxts.rotation
        poses[number] = T_mercator_imu @ inverse(T_base_imu)
    origin = next(iter(poses.values()))[:3, 3].copy()
    return {number: transform(-origin) @ T for number, T in poses.items()}


def imu_and_fix(oxts: Oxts, stamp_ns: int) -> list[Outgoing]:
    """sensor_msgs/Imu and NavSatFix."""
    v = oxts.values
    header = messages.header(stamp_ns, IMU)
    orientation = dict(zip("xyzw", quaternion_from_matrix(oxts.rotation).tolist(), strict=True))
    imu = {
        "header": header,
        "orientation": orientation,
        "linear_acceleration": dict(zip("xyz", v[11:14], strict=True)),
        "angular_velocity": dict(zip("xyz", v[17:20], strict=True)),
    }
    lat, lon, alt = oxts.position
    fix = {"header": header, "latitude": lat, "longitude": lon, "altitude": alt}
    return [
        Outgoing("/imu/data", "sensor_msgs/msg/Imu", imu),
        Outgoing("/gps/fix", "sensor_msgs/msg/NavSatFix", fix),
    ]
