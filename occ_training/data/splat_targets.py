"""Targets of GaussianFlowOcc: which key frames are rendered, from where, and with what labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from occ_perception.rendering.splat_torch import SplatCameras

Matrix = npt.NDArray[np.float64]

_FURTHEST_M = 40.0

# Camera order of the official mask files; depth files and the network use another one.
MASK_FILE_ORDER = (
    "CAM_FRONT",
    "CAM_FRONT_LEFT",
    "CAM_BACK_LEFT",
    "CAM_BACK",
    "CAM_BACK_RIGHT",
    "CAM_FRONT_RIGHT",
)


class PixelLabels(NamedTuple):
    """Pseudo labels of some pictures.

    Attributes:
        classes: Class ids, 0 = none.
        depth_m: Depth, metres, 0 = none.
    """

    classes: Int[Tensor, "*n h w"]
    depth_m: Float[Tensor, "*n h w"]


def draw_steps(valid: Sequence[bool], count: int, random: np.random.RandomState) -> list[int]:
    """Key frames to render: some neighbours in random order, the current one last.

    Args:
        valid: Whether each offset -n..n exists in this scene; the middle one is the current frame.
        count: Neighbours to draw; fewer where fewer exist.
        random: Source of randomness.
    """
    current = len(valid) // 2
    neighbours = [i for i, exists in enumerate(valid) if exists and i != current]
    drawn = random.choice(neighbours, min(count, len(neighbours)), replace=False)
    return [*(int(i) for i in drawn), current]


def fit_labels(
    classes: Int[Tensor, "*n h w"],
    depth_m: Float[Tensor, "*n h w"],
    factor: float,
    crop_top: int,
    furthest_m: float = _FURTHEST_M,
) -> PixelLabels:
    """Resize label pictures, drop their top rows and everything that is too far away.

    Args:
        classes: Class ids of the full images, 0 = none.
        depth_m: Depth of the full images, metres, 0 = none; never mixed with it.
        factor: Of both axes.
        crop_top: Rows to drop after resizing.
        furthest_m: Depth from which on there is neither depth nor class.
    """
    sizes = classes.shape[:-2]
    small = F.interpolate(classes.flatten(0, -3)[:, None].float(), scale_factor=factor)
    depth = F.interpolate(
        depth_m.flatten(0, -3)[:, None].float(),
        scale_factor=factor,
        mode="bilinear",
        align_corners=False,
    )
    # Without holes, as from the published teacher, this is 1 everywhere.
    known = F.interpolate(
        (depth_m > 0).flatten(0, -3)[:, None].float(),
        scale_factor=factor,
        mode="bilinear",
        align_corners=False,
    )
    small, depth, known = (t[:, 0, crop_top:].unflatten(0, sizes) for t in (small, depth, known))
    near = depth <= furthest_m
    return PixelLabels((small * near).to(classes.dtype), depth * near * (known > 0.999))


def rendering_cameras(
    K: Sequence[Matrix],
    T_ego_cam: Sequence[Matrix],
    factor: float,
    crop_top: int,
    size: tuple[int, int],
) -> SplatCameras:
    """Cameras that see the labels of `fit_labels`.

    Args:
        K: Intrinsics `[3, 3]` of the full images, pixels.
        T_ego_cam: Poses `[4, 4]` in the frame of the Gaussians, metres.
        factor: As given to `fit_labels`.
        crop_top: As given to `fit_labels`.
        size: Height and width of the pictures.
    """
    scaled = np.stack(K) * np.array([[factor], [factor], [1.0]])
    scaled[:, 1, 2] -= crop_top
    T_cam_ego = np.linalg.inv(np.stack(T_ego_cam))
    height, width = size
    to_tensor = (torch.from_numpy(m.astype(np.float32)) for m in (T_cam_ego, scaled))
    return SplatCameras(*to_tensor, width=width, height=height)
