"""A stand-in for DINO in the procedural world: a smooth random function of what is seen."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from occ_perception.core.errors import ConfigError
from occ_perception.geometry.rays import directions_through
from occ_training.data.patches import GridCells
from occ_training.labels.patch_features import PatchQuery

_IDS = 256
_NO_LENS = 0  # class of pixels outside a fisheye's image circle
_PLACES = (0.25, 0.75)  # where in a patch it looks, shares of the patch's edge
_ABOVE_ALL_M = 20.0  # height of what has no surface: the sky
_HEIGHT_SCALE_M, _TEXTURE_SCALE_M = 4.0, 0.5
_TEXTURE, _PATTERN = 0.2, 0.15  # shares of texture and of the grid's pattern


class Seen(NamedTuple):
    """What is to be seen at some places.

    Attributes:
        classes: Cityscapes ids.
        surface: Whether there is a surface.
        points_m: Its points in the world.
        upright: How much of the surface's normal points up or down, 0..1.
    """

    classes: Int[Tensor, "*b"]
    surface: Bool[Tensor, "*b"]
    points_m: Float[Tensor, "*b 3"]
    upright: Float[Tensor, "*b"]


class ToyPatchNetwork:
    """Answers from class, height, direction and texture of the surface; pictures are not looked at.

    A pattern that hangs on the place in the grid alone is added, as ViTs do: the artefact field
    (paper, section 3.3) has to explain it away.

    Args:
        channels: Of the features.
    """

    name = "stand-in (toy patch network)"

    def __init__(self, channels: int) -> None:
        random = torch.Generator().manual_seed(channels)
        self._phase = 2 * math.pi * torch.rand(_IDS, channels, generator=random)
        self._shape, self._grain, self._pattern = (
            torch.randn(count, channels, generator=random) for count in (2, 3, 4)
        )

    @torch.no_grad()
    def __call__(self, query: PatchQuery) -> Float[Tensor, "b p c"]:
        """Features of the cells.

        Raises:
            ConfigError: The query says nothing of surfaces.
        """
        seen = look(query)
        ground_m = query.T_world_cam[:, :1, 2, 3]
        features = self.describe(seen, ground_m[..., None, None]).mean(dim=(2, 3))
        features = features + _PATTERN * self.pattern(query.cells)
        is_dark = (seen.classes == _NO_LENS).flatten(2).any(dim=-1)
        return features.masked_fill(is_dark[..., None], float("nan"))

    def describe(self, seen: Seen, level_m: Float[Tensor, "*#b"]) -> Float[Tensor, "*b c"]:
        """Features of places, without the pattern.

        Args:
            seen: The places.
            level_m: Height in the world from which heights are counted, metres.
        """
        height = (seen.points_m[..., 2] - level_m).where(
            seen.surface, seen.points_m.new_tensor(_ABOVE_ALL_M)
        )
        state = torch.stack([height / _HEIGHT_SCALE_M, seen.upright], dim=-1)
        main = torch.sin(state @ self._shape + self._phase[seen.classes.long()])
        return main + _TEXTURE * torch.sin(seen.points_m / _TEXTURE_SCALE_M @ self._grain)

    def pattern(self, cells: GridCells) -> Float[Tensor, "b p c"]:
        """What is added at places of the grid whatever is seen."""
        row, column = cells.row / 3.0, cells.column / 5.0
        where = torch.stack([row.cos(), (2 * row).sin(), column.cos(), (2 * column).sin()], dim=-1)
        return where @ self._pattern


def look(query: PatchQuery) -> Seen:
    """What is to be seen at four places of every patch, `[b, p, 2, 2]`.

    Raises:
        ConfigError: The query says nothing of surfaces.
    """
    if query.surfaces is None:
        raise ConfigError(
            "the stand-in for the patch network needs class and depth images of all views, which "
            "only bags of the procedural world have: give the real network's weights instead"
        )
    patches = query.patches
    step = torch.tensor([int(share * patches.size) for share in _PLACES])
    row = (patches.y[..., None, None] + step[:, None]).expand(*patches.y.shape, 2, 2)
    column = (patches.x[..., None, None] + step).expand_as(row)
    sample = torch.arange(len(patches.y))[:, None, None, None]
    view = patches.view[..., None, None]
    depth = query.surfaces.depth_m[sample, view, row, column]
    surface = depth.isfinite() & (depth > 0)
    height, width = query.images.shape[-2:]
    uv = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1], dim=-1)
    local = directions_through(uv, query.K[sample, view]) * depth.where(surface, 0.0)[..., None]
    T = query.T_world_cam[sample, view]
    points = (T[..., :3, :3] @ local[..., None])[..., 0] + T[..., :3, 3]
    classes = query.surfaces.classes[sample, view, row, column]
    return Seen(classes, surface, points, _upright(points, surface))


def _upright(
    points: Float[Tensor, "*b 2 2 3"], surface: Bool[Tensor, "*b 2 2"]
) -> Float[Tensor, "*b 2 2"]:
    """The patch's normal by its diagonals; 0 where a corner has no surface."""
    normal = torch.linalg.cross(
        points[..., 1, 1, :] - points[..., 0, 0, :], points[..., 1, 0, :] - points[..., 0, 1, :]
    )
    up = torch.nn.functional.normalize(normal, dim=-1)[..., 2].abs()
    whole = surface.flatten(-2).all(dim=-1)
    return up.where(whole, 0.0)[..., None, None].expand(surface.shape)
