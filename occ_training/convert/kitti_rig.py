"""Where KITTI's sensors sit on the car, by calib.txt, and whether that file can be true."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from occ_perception.geometry.transforms import Matrix, inverse
from occ_training.convert.content import (
    BASE,
    T_BASE_VELODYNE,
    VELODYNE,
    Link,
    rectified_offset,
    rigid,
)
from occ_training.convert.files import entry, read_image
from occ_training.convert.report import DatasetError


class Group(NamedTuple):
    """Calibration of the sequences of one image width."""

    focal_px: float
    velodyne_to_camera_m: tuple[float, float, float]


# Width -> what its calibration must say; files with lines of two groups circulate.
GROUPS = {
    1241: Group(718.856, (0.2918, -0.0114, -0.0562)),
    1242: Group(721.5377, (0.2729, -0.0020, -0.0723)),
    1226: Group(707.0912, (0.3335, -0.0048, -0.0756)),
}
FOCAL_TOLERANCE_PX, PLACE_TOLERANCE_M = 1.0, 0.005


def sensor_links(calibration: Mapping[str, Matrix], path: Path) -> list[Link]:
    """The sensors below the base; camera 0 is where P0 projects from."""
    T_left_velodyne = rigid(entry(dict(calibration), "Tr", (3, 4), path))
    left = "camera_left_optical"
    links = [
        Link(BASE, VELODYNE, T_BASE_VELODYNE),
        Link(VELODYNE, left, inverse(T_left_velodyne)),
    ]
    others = {
        "P1": "camera_right_optical",
        "P2": "camera_color_left_optical",
        "P3": "camera_color_right_optical",
    }
    for name, frame in others.items():
        if name in calibration:
            P = entry(dict(calibration), name, (3, 4), path)
            links.append(Link(left, frame, rectified_offset(P)))
    return links


def image_size(first: Path, P: Matrix, path: Path) -> tuple[int, int]:
    """Size of a sequence's images, which the calibration must fit.

    Raises:
        DatasetError: The principal point is not near the middle of the image.
    """
    image = read_image(first)
    if not 0.35 < P[0, 2] / image.width < 0.65:
        raise DatasetError(
            f"{path} has its image centre at {P[0, 2]:.0f} px, but {first} is {image.width} px "
            "wide: use the calibration of this recording"
        )
    return image.width, image.height


def check_group(calibration: Mapping[str, Matrix], width: int, focal_px: float, path: Path) -> None:
    """Refuse calibration lines that belong to images of another width.

    Raises:
        DatasetError: The focal length or the velodyne's place is that of other sequences.
    """
    group = GROUPS.get(width)
    if group is None:
        return
    place_m = inverse(rigid(calibration["Tr"].reshape(3, 4)))[:3, 3]
    focal_fits = abs(focal_px - group.focal_px) < FOCAL_TOLERANCE_PX
    place_fits = np.abs(place_m - group.velodyne_to_camera_m).max() < PLACE_TOLERANCE_M
    if not (focal_fits and place_fits):
        what = "P" if not focal_fits else "Tr"
        raise DatasetError(
            f"{path}: {what} does not belong to images of {width} px width, where the focal length "
            f"is {group.focal_px} px and camera 0 is at {group.velodyne_to_camera_m} m: "
            "take the calib.txt of this very sequence from the odometry benchmark"
        )
