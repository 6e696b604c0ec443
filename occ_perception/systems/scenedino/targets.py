"""What SceneDINO's features are compared with: a frozen ViT, and the way down to its grid."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from occ_perception.systems.scenedino.config import SceneDinoConfig
from occ_perception.systems.scenedino.model import ImageEncoder


class SalienceDownsampler(nn.Module):
    """Pools a patch of pixel features to one, weighted by learnt salience (FeatUp, Fu et al. 2024).

    Args:
        channels: Channels of the features.
        patch: Edge length of a patch, pixels.
    """

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.salience = nn.Linear(channels, 1)
        self.gain = nn.Parameter(1 + 0.01 * torch.randn(patch, patch))
        self.bias = nn.Parameter(0.01 * torch.randn(patch, patch))
        nn.init.kaiming_normal_(self.salience.weight)

    def weights(self, patches: Float[Tensor, "*batch p p c"]) -> Float[Tensor, "*batch p p"]:
        """Share of every pixel in its patch's feature."""
        logits = self.gain * self.salience(patches)[..., 0] + self.bias
        return logits.flatten(-2).softmax(dim=-1).view_as(logits)

    def forward(self, patches: Float[Tensor, "*batch p p c"]) -> Float[Tensor, "*batch c"]:
        """Unit features of the patches."""
        pooled = (self.weights(patches)[..., None] * patches).sum(dim=(-3, -2))
        return pooled / pooled.norm(dim=-1, keepdim=True)

    def image(self, features: Float[Tensor, "*batch h w c"]) -> Float[Tensor, "*batch r k c"]:
        """Unit features of all patches of a full map."""
        return self(cut_patches(features, self.gain.shape[0]))


def cut_patches(maps: Float[Tensor, "*batch h w c"], patch: int) -> Tensor:
    """Non-overlapping patches `[..., rows, columns, patch, patch, C]` of maps."""
    rows = maps.unflatten(-3, (-1, patch)).unflatten(-2, (-1, patch))
    return rows.transpose(-4, -3)


class FeatureTargets(nn.Module):
    """Everything of stage 1 that inference does not need.

    Args:
        config: Sizes.
    """

    def __init__(self, config: SceneDinoConfig) -> None:
        super().__init__()
        self.encoder = ImageEncoder(config, ()).requires_grad_(False)
        self.downsampler = SalienceDownsampler(config.feature_channels, config.patch)
        # Pattern that the ViT adds at a place of its grid whatever the image shows (section 3.3).
        self.artifacts = nn.Parameter(
            0.001 * torch.randn(config.feature_channels, *config.patch_grid)
        )

    def train(self, mode: bool = True) -> FeatureTargets:
        """Switch to training, all but the frozen encoder."""
        super().train(mode)
        self.encoder.eval()
        return self

    @torch.no_grad()
    def features(
        self, images: Float[Tensor, "b 3 h w"], shift: tuple[int, int] = (0, 0)
    ) -> Float[Tensor, "b c r k"]:
        """Unit features of images -1..1 whose patches start `shift` pixels further.

        Args:
            images: Images.
            shift: Rows and columns by which the grid of patches is moved; the border repeats.
        """
        margin = max(abs(step) for step in shift)
        height, width = images.shape[-2:]
        top, left = margin + shift[0], margin + shift[1]
        padded = F.pad(images, (margin,) * 4, mode="replicate")
        return self.encoder(padded[..., top : top + height, left : left + width])[-1]
