"""KITTI-360's fisheyes for ROS, which has no MEI model: the nearest equidistant one.

The tangential part is left out (up to 0.5 and 1.5 px at the rim); the radial error is below 0.1 px
up to 95 degrees. Whoever needs the exact model finds the data set's own file in the bag.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from occ_perception.geometry.transforms import Matrix
from occ_training.convert.files import read_text
from occ_training.convert.report import DatasetError

WIDEST_RAD = np.deg2rad(95.0)
STEPS = 2000


class Equidistant(NamedTuple):
    """A fisheye camera in the terms of CameraInfo.

    Attributes:
        width: Pixels.
        height: Pixels.
        K: `[3, 3]`, pixels.
        D: Factors of the third, fifth, seventh and ninth power of the angle.
    """

    width: int
    height: int
    K: Matrix
    D: tuple[float, ...]


def read_mei(path: Path) -> dict[str, object]:
    """The nested values of an `image_0x.yaml`, whose first line no YAML parser takes.

    Raises:
        DatasetError: Missing or no such file.
    """
    text = read_text(path)
    body = text.split("\n", 1)[-1] if text.startswith("%YAML") else text
    try:
        values = yaml.safe_load(body)
    except yaml.YAMLError as error:
        raise DatasetError(f"{path} is no YAML: take calibration/ of KITTI-360") from error
    if not isinstance(values, dict):
        raise DatasetError(f"{path} is empty: take calibration/ of KITTI-360")
    return values


def equidistant(path: Path) -> Equidistant:
    """Fit the equidistant model to the radial part of the MEI model.

    Raises:
        DatasetError: Missing, or a value is not there.
    """
    values = read_mei(path)
    try:
        xi = float(values["mirror_parameters"]["xi"])
        lens, pixels = values["distortion_parameters"], values["projection_parameters"]
        k1, k2 = float(lens["k1"]), float(lens["k2"])
        gamma_x, gamma_y, u0, v0 = (float(pixels[n]) for n in ("gamma1", "gamma2", "u0", "v0"))
        size = int(values["image_width"]), int(values["image_height"])
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} lacks {error}: take calibration/ of KITTI-360") from error
    return fit_equidistant(xi, k1, k2, (gamma_x, gamma_y), (u0, v0), size)


def fit_equidistant(
    xi: float,
    k1: float,
    k2: float,
    gamma: tuple[float, float],
    centre: tuple[float, float],
    size: tuple[int, int],
) -> Equidistant:
    """Least squares over all angles up to 95 degrees.

    Args:
        xi: Mirror parameter of the MEI model.
        k1: Its radial term of second order.
        k2: Its radial term of fourth order.
        gamma: Its focal lengths, pixels.
        centre: Principal point, pixels.
        size: Width and height, pixels.
    """
    angle = np.linspace(0, WIDEST_RAD, STEPS)
    r = np.sin(angle) / (np.cos(angle) + xi)
    radius = r * (1 + k1 * r**2 + k2 * r**4)  # per gamma
    powers = np.stack([angle ** (2 * n + 1) for n in range(5)], axis=1)
    factors = np.linalg.lstsq(powers, radius, rcond=None)[0]
    fx, fy = gamma[0] * factors[0], gamma[1] * factors[0]
    K = np.array([[fx, 0, centre[0]], [0, fy, centre[1]], [0, 0, 1]])
    return Equidistant(*size, K, tuple((factors[1:] / factors[0]).tolist()))
