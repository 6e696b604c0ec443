"""Geometric-semantic sparse awareness: a dense spread, then a sparse U-Net (paper, section 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from occ_perception.blocks.sparse.sparse_conv import (
    ActiveBatchNorm,
    Backend,
    DownsampleConv3d,
    SparseVolume,
    SubmanifoldConv3d,
    Triple,
    UpsampleConv3d,
    choose_backend,
    sparsify,
)

_YZ: Triple = (1, 3, 3)
_XZ: Triple = (3, 1, 3)


class Spread(nn.Module):
    """Carries lifted features to the voxels between the viewing rays.

    There are no norms and no biases, so a voxel more than four away from any lifted feature stays
    exactly zero: what is zero here is inactive in the sparse part.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv3d(in_channels, channels, 1, bias=False)
        self.wide = nn.Conv3d(channels, channels, 7, padding=3, bias=False)
        self.near = nn.Conv3d(channels, channels, 3, padding=1, bias=False)

    def forward(self, volume: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b d x y z"]:
        """Spread features over their neighbourhood."""
        volume = F.relu(self.reduce(volume))
        return F.relu(volume + self.near(F.relu(self.wide(volume))))


class SparseStep(nn.Module):
    """Submanifold convolution, LeakyReLU, then the norm (officially in this order)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Triple, sites: str) -> None:
        super().__init__()
        self.conv = SubmanifoldConv3d(in_channels, out_channels, kernel, sites)
        self.norm = ActiveBatchNorm(out_channels)

    def forward(self, volume: SparseVolume) -> SparseVolume:
        """One step on the same active voxels."""
        volume = self.conv(volume)
        return self.norm(volume.with_features(F.leaky_relu(volume.features)))


class PlanePair(nn.Module):
    """Two branches, each seeing one vertical plane through a voxel, added."""

    def __init__(self, in_channels: int, channels: int, sites: str) -> None:
        super().__init__()
        self.yz = _two_steps(in_channels, channels, _YZ, sites)
        self.xz = _two_steps(in_channels, channels, _XZ, sites)

    def forward(self, volume: SparseVolume) -> SparseVolume:
        """Both branches on the same active voxels."""
        yz, xz = self.yz(volume), self.xz(volume)
        return yz.with_features(yz.features + xz.features)


def _two_steps(in_channels: int, channels: int, kernel: Triple, sites: str) -> nn.Sequential:
    return nn.Sequential(
        SparseStep(in_channels, channels, kernel, sites),
        SparseStep(channels, channels, kernel, sites),
    )


class UpBlock(nn.Module):
    """Refine, return to the finer active voxels, add the skip, refine three times."""

    def __init__(self, in_channels: int, channels: int, coarse: str, fine: str) -> None:
        super().__init__()
        self.enter = SparseStep(in_channels, channels, (3, 3, 3), coarse)
        self.up = UpsampleConv3d(channels, channels, key=f"{fine}->{coarse}")
        self.refine = nn.Sequential(*(SparseStep(channels, channels, _YZ, fine) for _ in range(3)))

    def forward(self, volume: SparseVolume, skip: SparseVolume) -> SparseVolume:
        """One resolution up."""
        volume = self.up(self.enter(volume))
        # Rows of both sides belong to the same voxels: the way back restores the pre-pool order.
        return self.refine(skip.with_features(volume.features + skip.features))


class AxisGate(nn.Module):
    """Scales features by what lies before and behind them along each axis.

    The published model passes the first axis through all three norms and sigmoids and leaves the
    other two linear. That is a slip, but the published weights were trained with it.
    """

    def __init__(self, channels: int, sites: str) -> None:
        super().__init__()
        self.along_x = SubmanifoldConv3d(channels, channels, (3, 1, 1), sites)
        self.along_y = SubmanifoldConv3d(channels, channels, (1, 3, 1), sites)
        self.along_z = SubmanifoldConv3d(channels, channels, (1, 1, 3), sites)
        self.norms = nn.ModuleList(ActiveBatchNorm(channels) for _ in range(3))

    def forward(self, volume: SparseVolume) -> SparseVolume:
        """Gated features on the same active voxels."""
        gate = self.along_x(volume)
        for norm in self.norms:
            gate = norm(gate)
            gate = gate.with_features(gate.features.sigmoid())
        linear = self.along_y(volume).features + self.along_z(volume).features
        # The product with `volume` makes inactive voxels zero again (a sigmoid of zero is not).
        return volume.with_features((gate.features + linear) * volume.features)


class SparseUNet(nn.Module):
    """Lifted features to features of the whole scene.

    Args:
        in_channels: Channels of the lifted volume.
        widths: Channels at full, half and quarter resolution.
        backend: How sparse convolutions run, see `blocks.sparse.sparse_conv`.
    """

    def __init__(
        self,
        in_channels: int = 128,
        widths: tuple[int, int, int] = (64, 128, 256),
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        full, half, quarter = widths
        self.backend: Backend = backend
        self.out_channels = 2 * half
        self.spread = Spread(in_channels, full)
        self.context = PlanePair(full, full, "full")
        self.encode_full = PlanePair(full, half, "full")
        self.pool_half = DownsampleConv3d(half, half, "full->half")
        self.encode_half = PlanePair(half, quarter, "half")
        self.pool_quarter = DownsampleConv3d(quarter, quarter, "half->quarter")
        self.decode_half = UpBlock(quarter, quarter, "quarter", "half")
        self.decode_full = UpBlock(quarter, half, "half", "full")
        self.gate = AxisGate(half, "full")
        # Nearly twice as fast on CPUs, and for spconv its own layout: nothing is ever copied.
        self.to(memory_format=torch.channels_last_3d)

    def forward(self, volume: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b d x y z"]:
        """Features of the scene.

        Args:
            volume: `[B, C, X, Y, Z]` lifted image features; X, Y, Z multiples of 4.

        Returns:
            `[B, 2 * widths[1], X, Y, Z]`, zero where nothing was lifted nearby.
        """
        spread = self.spread(volume)
        full = self.encode_full(self.context(self._sparsify(spread)))
        half = self.encode_half(self.pool_half(full))
        quarter = self.pool_quarter(half)
        scene = self.decode_full(self.decode_half(quarter, half), full)
        features = torch.cat([self.gate(scene).features, scene.features], dim=1)
        return scene.with_features(features).dense()

    def _sparsify(self, volume: Tensor) -> SparseVolume:
        return sparsify(volume, choose_backend(self.backend, volume.device))
