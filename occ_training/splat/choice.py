"""Which rasteriser draws: gsplat on a GPU, plain torch elsewhere."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from occ_perception.rendering.splat_torch import SplatCameras
from occ_perception.voxels.gaussians import Gaussians
from occ_training.splat import gsplat_backend, torch_backend


def render_steps(
    gaussians: Gaussians, means: Float[Tensor, "t g 3"], cameras: SplatCameras
) -> Float[Tensor, "t c h w k"]:
    """Class logits and accumulated depth; see `torch_backend.render_steps`.

    Raises:
        ConfigError: The Gaussians are on a GPU and gsplat is not installed.
    """
    backend = gsplat_backend if means.is_cuda else torch_backend
    return backend.render_steps(gaussians, means, cameras)
