"""How far two pictures are apart, and how smooth a map is where the picture is."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

# 3x3 Gaussian window and constants of SSIM (Wang et al. 2004) for images 0..1.
_WINDOW = ((0.0947, 0.1183, 0.0947), (0.1183, 0.1478, 0.1183), (0.0947, 0.1183, 0.0947))
_C1, _C2 = 1e-4, 9e-4
_SSIM_SHARE = 0.85


def ssim_error(
    a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]
) -> Float[Tensor, "n c h w"]:
    """Structural dissimilarity 0..0.5 per pixel and channel; borders see zeros."""
    channels = a.shape[1]
    window = a.new_tensor(_WINDOW).expand(channels, 1, 3, 3)

    def mean(x: Tensor) -> Tensor:
        return F.conv2d(x, window, padding=1, groups=channels)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    ssim = ((2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)) / (
        (mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2)
    )
    return (1 - ssim).clamp(0, 1) / 2


def photometric_error(
    a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]
) -> Float[Tensor, "n h w"]:
    """Mix of structural dissimilarity and absolute difference, per pixel."""
    ssim = ssim_error(a, b).mean(dim=1)
    return _SSIM_SHARE * ssim + (1 - _SSIM_SHARE) * (a - b).abs().mean(dim=1)


def patch_error(
    rendered: Float[Tensor, "b p h w r 3"], target: Float[Tensor, "b p h w 3"]
) -> Float[Tensor, "b p h w r"]:
    """Photometric error of rendered patches against one target, for every source view.

    Args:
        rendered: Rendered colours, one per source view, 0..1.
        target: Colours of the target patches, 0..1.
    """
    patches, views = rendered.shape[:2], rendered.shape[4]
    a = rendered.permute(0, 1, 4, 5, 2, 3).flatten(0, 2)
    b = target.permute(0, 1, 4, 2, 3)[:, :, None].expand(-1, -1, views, -1, -1, -1).flatten(0, 2)
    return photometric_error(a, b).unflatten(0, (*patches, views)).movedim(2, -1)


def edge_aware_smoothness(
    signal: Float[Tensor, "n c h w"],
    guide: Float[Tensor, "n g h w"],
    temperature: float = 1.0,
) -> Float[Tensor, "n h w"]:
    """Steps of a signal, forgiven where the picture has an edge; zero beyond the last pixel.

    Args:
        signal: Map that should be smooth.
        guide: Picture 0..1.
        temperature: How fast an edge forgives.
    """

    def term(dim: int) -> Tensor:
        step = signal.diff(dim=dim).abs().mean(dim=1)
        edge = guide.diff(dim=dim).abs().mean(dim=1)
        padding = (0, 1) if dim == -1 else (0, 0, 0, 1)
        return F.pad(step * (-temperature * edge).exp(), padding)

    return term(-1) + term(-2)


def relative_inverse(
    distance_m: Float[Tensor, "*batch h w"], near_m: float = 1e-3, far_m: float = 80.0
) -> Float[Tensor, "*batch h w"]:
    """Inverse distance divided by its mean over the patch, so that scale plays no part."""
    inverse = 1 / distance_m.clamp(near_m, far_m)
    return inverse / inverse.mean(dim=(-2, -1), keepdim=True)
