"""Training rays of LangOcc: pixels of many key frames as rays around the current one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_NEAREST_M, _FURTHEST_M = 0.05, 40.0


class RayPixels(NamedTuple):
    """Chosen pixels of all key frames and cameras.

    Attributes:
        frame: Index of the key frame.
        camera: Index of the camera.
        pixels: Row and column in the full image.
        depth_m: LiDAR depth; it only decides which pixels are used.
        targets: The teacher's vectors.
    """

    frame: Int[Tensor, " n"]
    camera: Int[Tensor, " n"]
    pixels: Float[Tensor, "n 2"]
    depth_m: Float[Tensor, " n"]
    targets: Float[Tensor, "n c"]

    def select(self, index: Tensor) -> RayPixels:
        """Some of them."""
        return RayPixels(*(tensor[index] for tensor in self))


class LanguageRays(NamedTuple):
    """Rays in the frame of the current vehicle.

    Attributes:
        origins: Camera centres, metres.
        directions: Unit vectors.
    """

    origins: Float[Tensor, "n 3"]
    directions: Float[Tensor, "n 3"]


def draw_pixels(pixels: RayPixels, count: int, random: np.random.RandomState) -> RayPixels:
    """A random choice among the pixels whose depth is in the rendered range.

    Args:
        pixels: Of all key frames.
        count: How many; fewer where there are fewer.
        random: Source of randomness.
    """
    usable = (pixels.depth_m >= _NEAREST_M) & (pixels.depth_m < _FURTHEST_M)
    kept = pixels.select(usable.nonzero()[:, 0])
    order = torch.from_numpy(random.permutation(len(kept.depth_m)))
    return kept.select(order[:count])


def cast_pixels(
    pixels: RayPixels,
    K: Float[Tensor, "n 3 3"],
    T_ego_cam: Float[Tensor, "t n 4 4"],
    augmentation: Float[Tensor, "3 3"],
) -> LanguageRays:
    """Rays through pixels.

    Args:
        pixels: Which ones.
        K: Intrinsics of the full images, pixels.
        T_ego_cam: Pose of every camera at every key frame, in the current vehicle frame.
        augmentation: Of the vehicle frame.
    """
    uv1 = torch.cat([pixels.pixels.flip(-1), torch.ones_like(pixels.pixels[:, :1])], dim=-1)
    pose = T_ego_cam[pixels.frame, pixels.camera]
    turn = pose[:, :3, :3] @ torch.linalg.inv(K)[pixels.camera].to(pose)
    directions = (turn @ uv1.to(pose)[..., None])[..., 0]
    directions = directions / directions.norm(dim=-1, keepdim=True)
    flips = augmentation.to(pose).T
    return LanguageRays((pose[:, :3, 3] @ flips).float(), (directions @ flips).float())
