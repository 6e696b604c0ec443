"""Pictures in plain torch: the oracle, and what runs without a GPU."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.rendering.splat_torch import (
    SplatCameras,
    draw_splats,
    project_gaussians,
    tight_extents,
)
from occ_perception.voxels.gaussians import Gaussians


def render_steps(
    gaussians: Gaussians, means: Float[Tensor, "t g 3"], cameras: SplatCameras
) -> Float[Tensor, "t c h w k"]:
    """Class logits and accumulated depth as the cameras of each time step see them.

    Args:
        gaussians: Of one sample; everything but their means is the same at all steps.
        means: Where they are at each step, metres, in the current vehicle frame.
        cameras: Cameras of all steps, step by step.
    """
    opacities = gaussians.opacities[:, 0]
    pictures = []
    for there, T, K in zip(
        means,
        cameras.T_cam_world.unflatten(0, (len(means), -1)),
        cameras.K.unflatten(0, (len(means), -1)),
        strict=True,
    ):
        step = SplatCameras(T, K, cameras.width, cameras.height)
        scales, quaternions = gaussians.scales, gaussians.quaternions
        splats = project_gaussians(there, scales, quaternions, opacities, step, tight_extents)
        size = cameras.width, cameras.height
        pictures.append(draw_splats(splats, opacities, gaussians.logits, *size).values)
    return torch.stack(pictures)
