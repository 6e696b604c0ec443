"""Occupancy head: axis-wise anisotropic convolutions, then classes on a finer grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

_KERNELS = (3, 5, 7)


class AnisotropicBlock(nn.Module):
    """Along z, y and x in turn, a mix of three kernel lengths chosen per voxel; residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = nn.Conv3d(channels, 3 * len(_KERNELS), 1, bias=False)
        self.along_z = _axis_convs(channels, axis=2)
        self.along_y = _axis_convs(channels, axis=1)
        self.along_x = _axis_convs(channels, axis=0)

    def forward(self, x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c x y z"]:
        """Diffuse features along the axes."""
        gates = self.gates(x).unflatten(1, (3, len(_KERNELS))).softmax(dim=2)
        mixed = _mix(self.along_z, gates[:, 2], x)
        mixed = _mix(self.along_y, gates[:, 1], mixed)
        mixed = _mix(self.along_x, gates[:, 0], mixed)
        return F.relu(mixed + x)


def _axis_convs(channels: int, axis: int) -> nn.ModuleList:
    sizes = [tuple(k if a == axis else 1 for a in range(3)) for k in _KERNELS]
    return nn.ModuleList(nn.Conv3d(channels, channels, size, padding="same") for size in sizes)


def _mix(convs: nn.ModuleList, gates: Tensor, x: Tensor) -> Tensor:
    parts = zip(gates.unbind(dim=1), convs, strict=True)
    return sum((gate[:, None] * F.relu(conv(x)) for gate, conv in parts), torch.zeros_like(x))


class SurroundBlock(nn.Module):
    """Three dilations of one reduced map, fused."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.reduce = nn.Conv3d(channels, inner, 1)
        self.dilated = nn.ModuleList(
            nn.Conv3d(inner, inner, 3, padding=rate, dilation=rate) for rate in (1, 2, 4)
        )
        self.fuse = nn.Conv3d(3 * inner, channels, 1)

    def forward(self, x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c x y z"]:
        """See a wider surrounding."""
        x = self.reduce(x)
        return F.relu(self.fuse(torch.cat([conv(x) for conv in self.dilated], dim=1)))


class PointHead(nn.Module):
    """Training only: classes of LiDAR points from the scene features and the image.

    Args:
        channels: Channels of the scene features.
        image_channels: Channels of the image features.
        classes: Number of classes.
        lower_m: Lower corner of the grid.
        upper_m: Upper corner of the grid.
        published_slips: Let x and z change places where the volume is sampled, as published.
    """

    def __init__(
        self,
        channels: int,
        image_channels: int,
        classes: int,
        lower_m: Sequence[float],
        upper_m: Sequence[float],
        published_slips: bool = True,
    ) -> None:
        super().__init__()
        self.image_reduce = nn.Linear(image_channels, channels)
        self.soft_weights = nn.Sequential(
            nn.Linear(channels, channels // 2), nn.ReLU(), nn.Linear(channels // 2, 2)
        )
        self.classify = nn.Sequential(
            nn.Linear(channels, channels), nn.GELU(), nn.Linear(channels, classes)
        )
        self.lower_m, self.upper_m = tuple(lower_m), tuple(upper_m)
        self.published_slips = published_slips

    def forward(
        self,
        scene: Float[Tensor, "c x y z"],
        image: Float[Tensor, "d h w"],
        points: Float[Tensor, "n 3"],
        uvd: Float[Tensor, "n 3"],
    ) -> Float[Tensor, "n k"]:
        """Logits of one sample's points.

        Args:
            scene: Scene features of the sample.
            image: Image features of the sample.
            points: Positions in the grid's frame, metres.
            uvd: Image position in -1..1 (x, y) and depth in metres.
        """
        voxel = self._from_scene(scene, points)
        pixel = self.image_reduce(self._from_image(image, uvd))
        weights = self.soft_weights(voxel).softmax(dim=1)
        return self.classify(weights[:, :1] * voxel + weights[:, 1:] * pixel)

    def _from_scene(self, scene: Tensor, points: Tensor) -> Tensor:
        lower, upper = points.new_tensor(self.lower_m), points.new_tensor(self.upper_m)
        place = 2 * (points - lower) / (upper - lower) - 1
        if not self.published_slips:
            place = place.flip(1)  # grid_sample wants (z, y, x)
        sampled = F.grid_sample(scene[None], place[None, :, None, None], align_corners=False)
        return sampled[0, :, :, 0, 0].T

    @staticmethod
    def _from_image(image: Tensor, uvd: Tensor) -> Tensor:
        sampled = F.grid_sample(image[None], uvd[None, :, None, :2], align_corners=False)
        seen = (uvd[:, 2] > 1e-5) & (uvd[:, :2].abs() < 1).all(dim=1)
        return sampled[0, :, :, 0].T * seen[:, None]


class OccupancyHead(nn.Module):
    """Scene features to class logits on a finer grid.

    Args:
        in_channels: Channels of the scene features.
        classes: Number of classes, id 0 = empty.
        widths: Channels behind the first convolution, and of everything after it.
        upsample: Classified voxels per voxel of the scene along x, y and z.
        published_slips: Align the outermost voxels of both grids, as published, which moves all
            others by up to half a voxel; else every fine voxel is looked up where it is.
    """

    def __init__(
        self,
        in_channels: int = 256,
        classes: int = 20,
        widths: tuple[int, int] = (128, 64),
        upsample: tuple[int, int, int] = (2, 2, 2),
        published_slips: bool = True,
    ) -> None:
        super().__init__()
        self.upsample, self.aligned = upsample, published_slips
        wide, narrow = widths
        self.reduce = nn.Sequential(
            nn.Conv3d(in_channels, wide, 3, padding=1, bias=False),
            nn.GroupNorm(min(32, wide), wide),
            nn.ReLU(inplace=True),
        )
        self.enter = nn.Conv3d(wide, narrow, 3, padding=1)
        self.diffuse = nn.Sequential(AnisotropicBlock(narrow), AnisotropicBlock(narrow))
        self.surround = SurroundBlock(narrow)
        self.norm = nn.LayerNorm(narrow)
        self.classify = nn.Linear(narrow, classes)
        self.to(memory_format=torch.channels_last_3d)  # a third faster on CPUs

    def forward(self, scene: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b d x y z"]:
        """Features that `logits` and `predict` classify, at the resolution of `scene`."""
        return self.surround(self.diffuse(self.enter(self.reduce(scene))))

    def logits(self, features: Float[Tensor, "b d x y z"]) -> Float[Tensor, "b k x2 y2 z2"]:
        """Class logits of all voxels at once (parity).

        Args:
            features: `[B, D, X, Y, Z]` result of `forward`.

        Returns:
            `[B, K, X2, Y2, Z2]` on the finer grid; 168 MB in float32 at the published size.
        """
        size = [n * factor for n, factor in zip(features.shape[2:], self.upsample, strict=True)]
        fine = F.interpolate(features, size, mode="trilinear", align_corners=self.aligned)
        return self._classified(fine.movedim(1, -1)).movedim(-1, 1)

    def logits_at(
        self, features: Float[Tensor, "b d x y z"], voxels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n k"]:
        """Class logits of some voxels (training: only those whose truth is known).

        Args:
            features: `[B, D, X, Y, Z]` result of `forward`.
            voxels: Positions in the flattened `[B, X2, Y2, Z2]` of the finer grid.
        """
        table = features.float().movedim(1, -1).flatten(0, 3)
        corners, weights = _corners(voxels, features.shape[2:], self.upsample, self.aligned)
        rows = F.embedding_bag(corners, table, mode="sum", per_sample_weights=weights)
        return self._classified(rows)

    def predict(
        self, features: Float[Tensor, "b d x y z"], slab: int = 32
    ) -> tuple[UInt8[Tensor, "b x2 y2 z2"], Float[Tensor, "b x2 y2 z2"]]:
        """Most likely class and its probability, without ever holding all logits.

        Args:
            features: `[B, D, X, Y, Z]` result of `forward`.
            slab: Voxels along x that are classified at a time.

        Returns:
            Labels uint8 and confidence float32 0..1, both `[B, X2, Y2, Z2]`.
        """
        labels, confidences = [], []
        for fine in _upsampled_slabs(features, slab, self.upsample, self.aligned):
            confidence, label = self._classified(fine).float().softmax(dim=-1).max(dim=-1)
            labels.append(label.to(torch.uint8))
            confidences.append(confidence)
        return torch.cat(labels, dim=1), torch.cat(confidences, dim=1)

    def _classified(self, fine: Float[Tensor, "*voxels d"]) -> Float[Tensor, "*voxels k"]:
        return self.classify(self.norm(fine))


def _places(
    fine: Int[Tensor, " n"], size: int, factor: int, aligned: bool
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """Where fine voxels lie between coarse ones along one axis: the lower one, the upper's share.

    Args:
        fine: Indices on the fine grid.
        size: Coarse voxels.
        factor: Fine voxels per coarse one.
        aligned: Whether the outermost centres of both grids coincide, or their borders.
    """
    if aligned:
        place = fine * ((size - 1) / max(size * factor - 1, 1))
    else:
        place = ((fine + 0.5) / factor - 0.5).clamp(0, size - 1)
    lower = place.floor().clamp(max=max(size - 2, 0))
    return lower.long(), place - lower


def _corners(
    voxels: Int[Tensor, " n"], shape: Sequence[int], factors: Sequence[int], aligned: bool
) -> tuple[Int[Tensor, "n corners"], Float[Tensor, "n corners"]]:
    """Trilinear upsampling: the coarse voxels, eight at most, that make a fine one; their shares.

    Args:
        voxels: Positions in the flattened `[B, X2, Y2, Z2]`.
        shape: Coarse sizes X, Y, Z.
        factors: Fine voxels per coarse one along each axis.
        aligned: See `_places`.
    """
    index, share = voxels.new_zeros(len(voxels), 1), torch.ones_like(voxels)[:, None].float()
    rest, stride = voxels, 1
    for size, factor in zip(reversed(shape), reversed(factors), strict=True):
        lower, upper_share = _places(rest % (size * factor), size, factor, aligned)
        pair = lower[:, None] + torch.arange(min(size, 2), device=voxels.device)
        shares = torch.stack([1 - upper_share, upper_share], dim=1)[:, : pair.shape[1]]
        index = (index[:, :, None] + stride * pair[:, None]).flatten(1)
        share = (share[:, :, None] * shares[:, None]).flatten(1)
        rest, stride = rest // (size * factor), stride * size
    return index + stride * rest[:, None], share


def _upsampled_slabs(
    features: Float[Tensor, "b d x y z"], slab: int, factors: tuple[int, int, int], aligned: bool
) -> Iterator[Float[Tensor, "b n y2 z2 d"]]:
    """Trilinear upsampling, `slab` output planes along x at a time."""
    batch, _, x, y, z = features.shape
    last = features.movedim(1, -1).contiguous()  # channels last: what the norm wants to read
    indices = torch.arange(factors[0] * x, device=features.device)
    lower, upper_share = _places(indices, x, factors[0], aligned)
    for plane, part in zip(lower.split(slab), upper_share.split(slab), strict=True):
        share = part.to(features.dtype)[:, None, None, None]
        planes = torch.lerp(last[:, plane], last[:, (plane + 1).clamp(max=x - 1)], share)
        planes = planes.flatten(0, 1).movedim(-1, 1)
        fine = F.interpolate(
            planes, (factors[1] * y, factors[2] * z), mode="bilinear", align_corners=aligned
        )
        yield fine.movedim(1, -1).unflatten(0, (batch, len(plane)))
