"""From densities of a field to voxels."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def grow(density: Float[Tensor, "x y z"]) -> Float[Tensor, "x y z"]:
    """Largest density within one voxel in every direction.

    A field is dense on surfaces only; without growing, voxel centres beside a thin surface miss it.
    """
    grown = density[None, None]
    for axis in range(3):  # a maximum over a cube is one over its edges in turn
        kernel = tuple(3 if a == axis else 1 for a in range(3))
        grown = F.max_pool3d(grown, kernel, stride=1, padding=tuple(k // 2 for k in kernel))
    return grown[0, 0]
