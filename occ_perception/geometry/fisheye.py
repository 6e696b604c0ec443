"""Fisheye images of the MEI model (Mei and Rives 2007) resampled to pinhole views."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from occ_perception.core.errors import CalibrationError
from occ_perception.geometry.rays import corner_grid, directions_through


@dataclass(frozen=True)
class MeiCamera:
    """Unified omnidirectional camera in normalised image coordinates.

    The tangential terms of the model are left out: the published training images were made so.

    Attributes:
        xi: Distance of the projection centre from the centre of the unit sphere.
        k1: Radial distortion, second order.
        k2: Radial distortion, fourth order.
        gamma: Generalised focal lengths (x, y); 2 = image width or height.
        centre: Principal point (x, y), -1..1 over the image.
    """

    xi: float
    k1: float
    k2: float
    gamma: tuple[float, float]
    centre: tuple[float, float]

    @classmethod
    def from_calibration(cls, calibration: Mapping[str, Any]) -> MeiCamera:
        """Read a KITTI-360 `image_0x.yaml` that was parsed into nested mappings.

        Raises:
            CalibrationError: A section or number is missing.
        """
        try:
            mirror, lens, pixels = (
                calibration[f"{section}_parameters"]
                for section in ("mirror", "distortion", "projection")
            )
            width, height = float(calibration["image_width"]), float(calibration["image_height"])
            return cls(
                xi=float(mirror["xi"]),
                k1=float(lens["k1"]),
                k2=float(lens["k2"]),
                gamma=(2 * pixels["gamma1"] / width, 2 * pixels["gamma2"] / height),
                centre=(2 * pixels["u0"] / width - 1, 2 * pixels["v0"] / height - 1),
            )
        except (KeyError, TypeError) as error:
            raise CalibrationError(
                f"fisheye calibration lacks {error}; expected the fields of KITTI-360's "
                "image_02.yaml"
            ) from error

    def project(self, directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 2"]:
        """Normalised image coordinates of viewing directions (z forward, any length)."""
        n = directions / directions.norm(dim=-1, keepdim=True)
        xy = n[..., :2] / (n[..., 2:] + self.xi)
        r2 = xy.square().sum(dim=-1, keepdim=True)
        xy = xy * (1 + self.k1 * r2 + self.k2 * r2.square())
        return xy * xy.new_tensor(self.gamma) + xy.new_tensor(self.centre)


def virtual_rotation(about_x_deg: float, about_y_deg: float = 0.0) -> Float[Tensor, "3 3"]:
    """Rotation of a virtual pinhole view in a fisheye: about x first, then about the fixed y axis.

    Args:
        about_x_deg: Pitch; -15 in the published KITTI-360 preparation.
        about_y_deg: Yaw; mirrored between the left and the right camera.
    """
    a, b = math.radians(about_x_deg), math.radians(about_y_deg)
    about_x = [[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]]
    about_y = [[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]]
    rotation = torch.tensor(about_y, dtype=torch.float64) @ torch.tensor(
        about_x, dtype=torch.float64
    )
    return rotation.float()


def pinhole_grid(
    fisheye: MeiCamera,
    R_fisheye_view: Float[Tensor, "3 3"],
    K: Float[Tensor, "3 3"],
    size: tuple[int, int],
) -> Float[Tensor, "h w 2"]:
    """Where each pixel of a virtual pinhole view lies in the fisheye image.

    Args:
        fisheye: The fisheye camera.
        R_fisheye_view: Rotation of the view, see `virtual_rotation`.
        K: Normalised intrinsics of the view.
        size: Height and width of the view, pixels.

    Returns:
        Normalised coordinates for `resample`.
    """
    directions = directions_through(corner_grid(*size, device=K.device), K)
    return fisheye.project(directions @ R_fisheye_view.T)


def resample(
    image: Float[Tensor, "b c hf wf"], grid: Float[Tensor, "h w 2"]
) -> Float[Tensor, "b c h w"]:
    """The image at the grid's points; black where the fisheye sees nothing."""
    grids = grid.expand(image.shape[0], -1, -1, -1)
    return F.grid_sample(image, grids, padding_mode="zeros", align_corners=True)
