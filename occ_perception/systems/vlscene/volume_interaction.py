"""Volume interaction: stereo and monocular depth correct each other (as in StereoScene)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from occ_perception.blocks.lift.stereo import Hourglass3d


class ConfidenceAttention(nn.Module):
    """Attention between two depth volumes; tokens are pixels, channels are depth bins."""

    def __init__(self) -> None:
        super().__init__()
        self.query_conv = nn.Conv3d(1, 1, 1)
        self.key_conv = nn.Conv3d(1, 1, 1)
        self.value_conv = nn.Conv3d(1, 1, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(
        self, query: Float[Tensor, "b 1 d h w"], memory: Float[Tensor, "b 1 d h w"]
    ) -> Float[Tensor, "b 1 d h w"]:
        """`memory`, refined by what similar pixels of it say.

        The scores are not scaled. The confidence comes from `query` (a softmax over what is a
        distribution already) but weighs the keys: the published weights were learnt that way,
        and it lets the confidence move into the values.
        """
        confidence = query.softmax(dim=2).amax(dim=2, keepdim=True)
        values = confidence * self.value_conv(memory)
        volumes = (self.query_conv(query), self.key_conv(memory), values)
        tokens = (volume.flatten(3).mT.contiguous() for volume in volumes)
        mixed = F.scaled_dot_product_attention(*tokens, scale=1.0)
        return self.gamma * mixed.mT.unflatten(3, memory.shape[3:]) + memory


class ChannelAttention3d(nn.Module):
    """Residual channel attention on a volume (CA3D), off at the start (alpha 0)."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(1))
        self.conv1 = self._conv(channels)
        self.conv2 = nn.Sequential(
            nn.Conv3d(channels, channels // reduction, 1),
            nn.GELU(),
            nn.Conv3d(channels // reduction, channels, 1),
            nn.GELU(),
        )
        self.conv = self._conv(channels)

    @staticmethod
    def _conv(channels: int) -> nn.Sequential:
        conv = nn.Conv3d(channels, channels, 3, padding=1)
        return nn.Sequential(conv, nn.GELU(), nn.GroupNorm(1, channels))

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c d h w"]:
        """The volume plus alpha times its attended transform."""
        inner = self.conv1(x)
        gate = self.conv2(inner.mean(dim=(2, 3, 4), keepdim=True)).sigmoid()
        return x + self.alpha * self.conv(gate * inner)


class VolumeInteraction(nn.Module):
    """Fuses the stereo and the monocular depth distribution into one.

    Args:
        channels: Inner width.
        published_slips: Let all negative scores count as zero, as published. A training from
            nothing can then fall silent for ever: where no score is positive nothing is learnt.
    """

    def __init__(self, channels: int, published_slips: bool = True) -> None:
        super().__init__()
        self.published_slips = published_slips
        self.lss2stereo = ConfidenceAttention()
        self.stereo2lss = ConfidenceAttention()
        self.redir1 = nn.Conv3d(2, channels, 3, padding=1)
        self.hourglass = Hourglass3d(channels)
        self.channel_attention = ChannelAttention3d(channels)
        self.redir2 = nn.Conv3d(channels, 1, 3, padding=1)

    def forward(
        self, stereo_prob: Float[Tensor, "b d h w"], depth_prob: Float[Tensor, "b d h w"]
    ) -> Float[Tensor, "b d h w"]:
        """Fused probability of every depth bin.

        Args:
            stereo_prob: Distribution from the stereo net.
            depth_prob: Distribution from the monocular depth net.
        """
        stereo, mono = stereo_prob[:, None], depth_prob[:, None]
        both = torch.cat([self.lss2stereo(stereo, mono), self.stereo2lss(mono, stereo)], dim=1)
        volume = self.hourglass(F.relu(self.redir1(both)))
        logits = self.redir2(self.channel_attention(volume)).squeeze(1)
        scores = F.relu(logits) if self.published_slips else logits
        return scores.float().softmax(dim=1)
