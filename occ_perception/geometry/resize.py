"""Image resizing as the systems' training data was made."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def resize_bilinear(image: Float[Tensor, "b c h w"], size: tuple[int, int]) -> Tensor:
    """Bilinear without antialiasing, pixel edges aligned: what OpenCV's INTER_LINEAR computes.

    Args:
        image: Any float image.
        size: Target height and width, pixels.
    """
    if tuple(image.shape[-2:]) == size:
        return image
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False)


def resize_antialiased(image: Float[Tensor, "b c h w"], size: tuple[int, int]) -> Tensor:
    """Bilinear whose kernel widens when shrinking: what PIL and torchvision compute.

    Args:
        image: Any float image.
        size: Target height and width, pixels.
    """
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
