"""Deformable attention of 3D points into the images of several cameras.

Deformable DETR (Zhu et al. 2021) around projected points, averaged over the cameras that see them
(BEVFormer, Li et al. 2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from occ_perception.geometry.precision import single_precision

# Added to the depth before the division, so that it shifts every pixel a little.
_DEPTH_EPS_M = 1e-4
_LEAST_DEPTH_M = 0.01


@dataclass(frozen=True, eq=False)
class ProjectionPlan:
    """Cameras of a rig, composed to one 3x4 map each.

    Attributes:
        maps: `[B, N, 3, 4]`, point to (u * depth, v * depth, depth) in network pixels; float32.
        shift: `[B, N, 2]`, added to the pixel after the division.
        size: Height and width of the network images, pixels.
    """

    maps: Float[Tensor, "b n 3 4"]
    shift: Float[Tensor, "b n 2"]
    size: tuple[int, int]

    def to(self, device: torch.device | str) -> ProjectionPlan:
        """The same plan on another device."""
        return type(self)(self.maps.to(device), self.shift.to(device), self.size)


def plan_projection(
    T_base_cam: Float[Tensor, "b n 4 4"],
    K: Float[Tensor, "b n 3 3"],
    image_transform: Float[Tensor, "b n 3 3"],
    size: tuple[int, int],
) -> ProjectionPlan:
    """Compose calibration and image fit; in float64, whatever comes in.

    Args:
        T_base_cam: Camera poses, metres.
        K: Intrinsics of the source images, pixels.
        image_transform: Source pixels to network pixels.
        size: Height and width of the network images.
    """
    T_cam_base = torch.linalg.inv(T_base_cam.double())
    turn = image_transform.double().clone()
    turn[..., :2, 2] = 0
    maps = turn @ K.double() @ T_cam_base[..., :3, :]
    return ProjectionPlan(maps.float(), image_transform[..., :2, 2].float(), size)


def project_points(
    points: Float[Tensor, "b g 3"], plan: ProjectionPlan
) -> tuple[Float[Tensor, "b n g 2"], Bool[Tensor, "b n g"]]:
    """Where the cameras see points: image position 0..1 and whether they see them.

    Args:
        points: In the frame of the rig, metres.
        plan: From `plan_projection`.
    """
    with single_precision(points):
        seen = points[:, None] @ plan.maps[..., :3].mT + plan.maps[:, :, None, :, 3]
    depth = seen[..., 2:]
    pixels = seen[..., :2] / (depth + _DEPTH_EPS_M) + plan.shift[:, :, None]
    height, width = plan.size
    position = pixels / pixels.new_tensor([width, height])
    inside = ((position > 0) & (position < 1)).all(dim=-1)
    return position, inside & (depth[..., 0] > _LEAST_DEPTH_M)


class DeformableCrossAttention(nn.Module):
    """Points read from the feature maps of all cameras that see them.

    Args:
        channels: Width of features and maps.
        cameras: Number of cameras; each has an embedding of its own.
        levels: Number of feature map sizes.
        heads: Attention heads.
        points: Sampling points per head and level.
        dropout: Behind the output projection.
    """

    def __init__(
        self,
        channels: int,
        cameras: int,
        levels: int,
        heads: int = 8,
        points: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.cams_embeds = nn.Parameter(torch.randn(cameras, channels))
        self.level_embeds = nn.Parameter(torch.randn(levels, channels))
        self.sampling_offsets = nn.Linear(channels, heads * levels * points * 2)
        self.attention_weights = nn.Linear(channels, heads * levels * points)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)
        self.ln = nn.LayerNorm(channels)
        self._init_weights()

    def _init_weights(self) -> None:
        """Each head looks into its own direction, further with every point."""
        angles = torch.arange(self.heads) * (2 * math.pi / self.heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = directions / directions.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, self.points + 1)
        offsets = directions[:, None, None] * steps[:, None]
        nn.init.zeros_(self.sampling_offsets.weight)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, self.levels, -1, -1).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.kaiming_uniform_(projection.weight, nonlinearity="relu")
            nn.init.zeros_(projection.bias)

    def forward(
        self,
        features: Float[Tensor, "b g c"],
        points: Float[Tensor, "b g 3"],
        maps: Sequence[Float[Tensor, "b n c _ _"]],
        plan: ProjectionPlan,
    ) -> Float[Tensor, "b g c"]:
        """Features after reading from the images.

        Args:
            features: One per point.
            points: Where they are, metres.
            maps: Feature maps, finest first.
            plan: The cameras of the maps.
        """
        position, visible = project_points(points.float(), plan)
        sample, camera, point = visible.nonzero(as_tuple=True)
        owner = sample * points.shape[1] + point
        view = sample * visible.shape[1] + camera
        offsets = self.sampling_offsets(features).float().flatten(0, 1)[owner]
        offsets = offsets.unflatten(1, (self.heads, self.levels, self.points, 2))
        weights = self.attention_weights(features).float().unflatten(-1, (self.heads, -1))
        weights = weights.softmax(dim=-1).flatten(0, 1)[owner]
        sizes = [(m.shape[-2], m.shape[-1]) for m in maps]
        index, share = _taps(position[sample, camera, point], offsets, weights, sizes)
        read = self._read(self._values(maps), index, share, view)
        gathered = read.new_zeros(features.shape[:2].numel(), features.shape[2])
        gathered = gathered.index_add(0, owner, read).unflatten(0, features.shape[:2])
        gathered = gathered / visible.sum(dim=1).clamp(min=1)[..., None]
        return self.ln(self.dropout(self.output_proj(gathered)) + features)

    def _values(self, maps: Sequence[Tensor]) -> Float[Tensor, "v s c"]:
        """Projected features of all levels, one row per map cell, view by view."""
        cells = [
            m.flatten(3).mT + self.cams_embeds[:, None] + level
            for m, level in zip(maps, self.level_embeds, strict=True)
        ]
        return self.value_proj(torch.cat(cells, dim=2)).flatten(0, 1)

    def _read(
        self,
        values: Float[Tensor, "v s c"],
        index: Int[Tensor, "p h t"],
        share: Float[Tensor, "p h t"],
        view: Int[Tensor, " p"],
    ) -> Float[Tensor, "p c"]:
        """Weighted sums of cells, one bag of cells per pair and head."""
        table = values.float().unflatten(2, (self.heads, -1)).flatten(0, 2)
        head = torch.arange(self.heads, device=index.device)[:, None]
        rows = (view[:, None, None] * values.shape[1] + index) * self.heads + head
        bags = F.embedding_bag(
            rows.flatten(0, 1), table, per_sample_weights=share.flatten(0, 1), mode="sum"
        )
        return bags.view(len(view), values.shape[2])


def _taps(
    position: Float[Tensor, "p 2"],
    offsets: Float[Tensor, "p h l q 2"],
    weights: Float[Tensor, "p h w"],
    sizes: Sequence[tuple[int, int]],
) -> tuple[Int[Tensor, "p h t"], Float[Tensor, "p h t"]]:
    """Bilinear sampling as cells and weights; outside the maps the weight is zero.

    Args:
        position: Image position 0..1 of every pair of point and camera.
        offsets: Where to look around it, cells of each level.
        weights: Attention weights of the samples.
        sizes: Height and width of the levels.
    """
    size = position.new_tensor([(w, h) for h, w in sizes])[:, None]
    cells = torch.tensor([h * w for h, w in sizes], device=position.device)
    first = (cells.cumsum(0) - cells)[:, None, None]
    at = position[:, None, None, None] * size + offsets - 0.5
    corner = at.floor()
    steps = position.new_tensor([[0, 0], [1, 0], [0, 1], [1, 1]])
    corners = corner[..., None, :] + steps
    closeness = 1 - (at[..., None, :] - corners).abs()
    inside = ((corners >= 0) & (corners < size[:, None])).all(dim=-1)
    attention = weights.unflatten(-1, offsets.shape[2:4])[..., None]
    share = closeness.prod(dim=-1) * inside * attention
    x, y = corners.long().unbind(dim=-1)
    width = size[..., 0].long()[..., None]
    index = torch.where(inside, first + y * width + x, 0)
    return index.flatten(2), share.flatten(2)
