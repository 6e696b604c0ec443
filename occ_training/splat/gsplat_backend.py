"""Pictures by gsplat's CUDA rasteriser; the only module that imports it."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from occ_perception.core.errors import ConfigError
from occ_perception.rendering.splat_torch import SplatCameras
from occ_perception.voxels.gaussians import Gaussians


def render_steps(
    gaussians: Gaussians, means: Float[Tensor, "t g 3"], cameras: SplatCameras
) -> Float[Tensor, "t c h w k"]:
    """Class logits and accumulated depth; see `torch_backend.render_steps`.

    All steps are one call; gsplat's other settings are left at their defaults, as published.

    Raises:
        ConfigError: gsplat is not installed.
    """
    try:
        from gsplat import rasterization
    except ImportError:
        raise ConfigError(
            "training GaussianFlowOcc on a GPU needs gsplat; install it with "
            "pip install 'occ_perception[splat]'"
        ) from None
    steps = len(means)

    def each_step(tensor: Tensor) -> Tensor:
        return tensor.float().expand(steps, *tensor.shape).contiguous()

    pictures, _, _ = rasterization(
        means.float().contiguous(),
        each_step(gaussians.quaternions),
        each_step(gaussians.scales),
        each_step(gaussians.opacities[:, 0]),
        each_step(gaussians.logits),
        cameras.T_cam_world.unflatten(0, (steps, -1)).contiguous(),
        cameras.K.unflatten(0, (steps, -1)).contiguous(),
        cameras.width,
        cameras.height,
        render_mode="RGB+D",
    )
    return pictures
