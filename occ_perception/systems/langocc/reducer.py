"""The learnt subspace of CLIP's space that LangOcc Reduced predicts in."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class ClipReducer(nn.Module):
    """A linear map into a small space and, transposed, back; both ends are unit vectors.

    Args:
        channels: Width of CLIP's space.
        reduced: Width of the subspace.
    """

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.U = nn.Parameter(torch.randn(channels, reduced) * 0.1)

    def forward(self, vectors: Float[Tensor, "*n c"]) -> Float[Tensor, "*n r"]:
        """Vectors in the subspace."""
        return F.normalize(vectors @ self.U, dim=-1)

    def reconstruct(self, reduced: Float[Tensor, "*n r"]) -> Float[Tensor, "*n c"]:
        """Vectors of CLIP's space."""
        return F.normalize(reduced @ self.U.T, dim=-1)
