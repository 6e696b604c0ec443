"""Sparse 3D convolution with one weight layout and two executions.

A sparse volume is a feature per *active* voxel; all others are zero and stay inactive.

- dense: an ordinary convolution followed by a mask. Runs everywhere, and wins where most voxels
  are active.
- spconv: gathers the active voxels only. The library is imported when first asked for. Its CPU
  build gives wrong results with more than one thread, so "auto" picks it on CUDA only.

Weights are `[out, in, kx, ky, kz]` in both (spconv's own `[out, kx, ky, kz, in]` is a view of it).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from occ_perception.core.errors import ConfigError

if TYPE_CHECKING:
    from spconv.pytorch import SparseConvTensor

Backend = Literal["auto", "dense", "spconv"]
Triple = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class DenseVolume:
    """Sparse volume held densely.

    Attributes:
        features: `[B, C, X, Y, Z]`, zero where inactive.
        mask: `[B, 1, X, Y, Z]` bool, the active voxels.
        finer: Active voxels before each named downsampling, for its inverse.
    """

    features: Float[Tensor, "b c x y z"]
    mask: Bool[Tensor, "b 1 x y z"]
    finer: Mapping[str, Tensor] = field(default_factory=dict)

    def with_features(self, features: Tensor) -> DenseVolume:
        """The same active voxels with other features (zero where inactive, as `features`)."""
        return replace(self, features=features)

    def rows(self) -> tuple[Int[Tensor, "n 4"], Float[Tensor, "n c"]]:
        """Indices (b, x, y, z) of the active voxels in lexicographic order, and their features."""
        return self.mask[:, 0].nonzero(), self.features.movedim(1, -1)[self.mask[:, 0]]

    def dense(self) -> Float[Tensor, "b c x y z"]:
        """Features of all voxels."""
        return self.features


@dataclass(frozen=True, eq=False)
class GatheredVolume:
    """Sparse volume held as rows by spconv.

    Attributes:
        tensor: spconv's tensor; its `indice_dict` keeps the neighbour tables by key.
    """

    tensor: SparseConvTensor

    @property
    def features(self) -> Float[Tensor, "n c"]:
        """Features of the active voxels."""
        return self.tensor.features

    def with_features(self, features: Tensor) -> GatheredVolume:
        """The same active voxels with other features."""
        return GatheredVolume(self.tensor.replace_feature(features))

    def rows(self) -> tuple[Int[Tensor, "n 4"], Float[Tensor, "n c"]]:
        """Indices (b, x, y, z) of the active voxels in lexicographic order, and their features."""
        indices = self.tensor.indices.long()
        _, x, y, z = (self.tensor.batch_size, *self.tensor.spatial_shape)
        order = ((indices[:, 0] * x + indices[:, 1]) * y + indices[:, 2]) * z + indices[:, 3]
        order = order.argsort()
        return indices[order], self.features[order]

    def dense(self) -> Float[Tensor, "b c x y z"]:
        """Features of all voxels."""
        batch, shape = self.tensor.batch_size, self.tensor.spatial_shape
        b, x, y, z = self.tensor.indices.long().unbind(dim=1)
        # Not `tensor.dense()`: spconv 2.3.8 indexes with a list, which torch >= 2.9 reads anew.
        volume = self.features.new_zeros(batch, *shape, self.features.shape[1])
        return volume.index_put((b, x, y, z), self.features).movedim(-1, 1)


SparseVolume = DenseVolume | GatheredVolume


def spconv_is_installed() -> bool:
    """Whether spconv can be imported (without importing it)."""
    return importlib.util.find_spec("spconv") is not None


def choose_backend(backend: Backend, device: torch.device) -> Literal["dense", "spconv"]:
    """Resolve "auto" and refuse what cannot work.

    Raises:
        ConfigError: spconv is asked for but missing, or would run on several CPU threads.
    """
    if backend == "auto":
        return "spconv" if device.type == "cuda" and spconv_is_installed() else "dense"
    if backend == "spconv" and not spconv_is_installed():
        raise ConfigError("sparse backend 'spconv' is not installed; install it or use 'dense'")
    if backend == "spconv" and device.type == "cpu" and torch.get_num_threads() > 1:
        raise ConfigError(
            "sparse backend 'spconv' gives wrong results on several CPU threads; use 'dense'"
        )
    return backend


def sparsify(
    volume: Float[Tensor, "b c x y z"], backend: Literal["dense", "spconv"]
) -> SparseVolume:
    """Keep the voxels that have any non-zero channel.

    Args:
        volume: `[B, C, X, Y, Z]` features.
        backend: How later layers run; see `choose_backend`.
    """
    active = volume.abs().sum(dim=1) != 0
    if backend == "dense":
        return DenseVolume(volume, active[:, None])
    from spconv.pytorch import SparseConvTensor

    indices = active.nonzero().int().contiguous()  # nonzero() answers column-major
    features = volume.movedim(1, -1)[active].contiguous()
    return GatheredVolume(
        SparseConvTensor(features, indices, list(volume.shape[2:]), volume.shape[0])
    )


def _masked(features: Tensor, mask: Tensor) -> Tensor:
    """Zero where inactive; on CPUs ten times as fast as a product with a mask of bools."""
    return torch.where(mask, features, 0)


class _SparseConv(nn.Module):
    """Weights `[out, in, kx, ky, kz]` without bias, drawn like those of `nn.Conv3d`."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Triple, key: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *kernel))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.kernel = kernel
        self.key = key
        self._gathering: tuple[Any, ...] = ()  # spconv's module; a tuple hides it from state_dict

    def extra_repr(self) -> str:
        out_channels, in_channels = self.weight.shape[:2]
        return f"{in_channels}, {out_channels}, kernel={self.kernel}, key={self.key!r}"

    def _gathered(self, volume: GatheredVolume) -> GatheredVolume:
        if not self._gathering:
            module = self._spconv_module()
            del module._parameters["weight"]  # ours is used instead, so gradients reach it
            self._gathering = (module,)
        (module,) = self._gathering
        module.train(self.training)
        module.weight = self.weight.permute(0, 2, 3, 4, 1).contiguous()
        result = module(volume.tensor)
        # Sister branches read the same input: share the neighbour table instead of rebuilding it.
        volume.tensor.indice_dict.update(result.indice_dict)
        return GatheredVolume(result)

    def _spconv_module(self) -> Any:
        raise NotImplementedError


class SubmanifoldConv3d(_SparseConv):
    """Convolution whose output is active exactly where its input is.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        kernel: Odd kernel sizes along x, y, z.
        sites: Name of the active set; layers on the same set share neighbour tables per kernel.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: Triple, sites: str) -> None:
        super().__init__(in_channels, out_channels, kernel, key=f"{sites}:{kernel}")

    def forward(self, volume: SparseVolume) -> SparseVolume:
        """Convolve on the same active voxels."""
        if isinstance(volume, GatheredVolume):
            return self._gathered(volume)
        padding = tuple(size // 2 for size in self.kernel)
        features = F.conv3d(volume.features, self.weight, padding=padding)
        return volume.with_features(_masked(features, volume.mask))

    def _spconv_module(self) -> Any:
        from spconv.pytorch import SubMConv3d

        out_channels, in_channels = self.weight.shape[:2]
        return SubMConv3d(
            in_channels, out_channels, list(self.kernel), bias=False, indice_key=self.key
        )


class DownsampleConv3d(_SparseConv):
    """3x3x3 convolution of stride 2; active wherever its window holds an active voxel.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        key: Name under which `UpsampleConv3d` finds the way back.
    """

    def __init__(self, in_channels: int, out_channels: int, key: str) -> None:
        super().__init__(in_channels, out_channels, (3, 3, 3), key)

    def forward(self, volume: SparseVolume) -> SparseVolume:
        """Halve the resolution."""
        if isinstance(volume, GatheredVolume):
            return self._gathered(volume)
        # Windows without an active voxel sum zeros, so no mask is needed behind the convolution.
        features = F.conv3d(volume.features, self.weight, stride=2, padding=1)
        mask = F.max_pool3d(volume.mask.to(features.dtype), 3, stride=2, padding=1) > 0
        return DenseVolume(features, mask, {**volume.finer, self.key: volume.mask})

    def _spconv_module(self) -> Any:
        from spconv.pytorch import SparseConv3d

        out_channels, in_channels = self.weight.shape[:2]
        return SparseConv3d(
            in_channels, out_channels, 3, stride=2, padding=1, bias=False, indice_key=self.key
        )


class UpsampleConv3d(_SparseConv):
    """Inverse of a `DownsampleConv3d`: back to exactly the voxels that were active before it.

    Fine voxel q receives the sum over coarse p and taps k with q = 2p - 1 + k of `W[k] t[p]`.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        key: Key of the downsampling to undo.
    """

    def __init__(self, in_channels: int, out_channels: int, key: str) -> None:
        super().__init__(in_channels, out_channels, (3, 3, 3), key)

    def forward(self, volume: SparseVolume) -> SparseVolume:
        """Double the resolution."""
        if isinstance(volume, GatheredVolume):
            return self._gathered(volume)
        mask = volume.finer[self.key]
        coarse, fine = volume.features.shape[2:], mask.shape[2:]
        rest = [f - (2 * c - 1) for f, c in zip(fine, coarse, strict=True)]
        features = F.conv_transpose3d(
            volume.features, self.weight.transpose(0, 1), stride=2, padding=1, output_padding=rest
        )
        return DenseVolume(_masked(features, mask), mask, volume.finer)

    def _spconv_module(self) -> Any:
        from spconv.pytorch import SparseInverseConv3d

        out_channels, in_channels = self.weight.shape[:2]
        return SparseInverseConv3d(in_channels, out_channels, 3, indice_key=self.key, bias=False)


class ActiveBatchNorm(nn.BatchNorm1d):
    """Batch normalisation whose statistics are those of the active voxels only."""

    def forward(self, volume: SparseVolume) -> SparseVolume:  # type: ignore[override]
        """Normalise the active voxels."""
        if isinstance(volume, GatheredVolume):
            return volume.with_features(super().forward(volume.features))
        if self.training:
            return volume.with_features(self._by_batch(volume))
        features = F.batch_norm(
            volume.features, self.running_mean, self.running_var, self.weight, self.bias,
            training=False, eps=self.eps,
        )  # fmt: skip
        return volume.with_features(_masked(features, volume.mask))

    def _by_batch(self, volume: DenseVolume) -> Tensor:
        """Statistics by masked sums: gathering the rows would take longer than the convolution."""
        count, axes = int(volume.mask.sum()), (0, 2, 3, 4)
        if count < 2:
            raise ValueError("batch statistics need more than one active voxel")
        wide = torch.promote_types(volume.features.dtype, torch.float32)
        x = volume.features.to(wide)  # zero where inactive
        mean = x.sum(axes) / count
        centred = _masked(x - mean[:, None, None, None], volume.mask)
        variance = centred.square().sum(axes) / count
        self._follow(mean.detach(), variance.detach() * (count / (count - 1)))
        scale = (self.weight * (variance + self.eps).rsqrt())[:, None, None, None]
        normed = centred * scale + self.bias[:, None, None, None]
        return _masked(normed.to(volume.features.dtype), volume.mask)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var), self.momentum)
