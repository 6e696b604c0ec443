"""Pixel-aligned field: a small MLP on the image feature under a 3D point and on its position.

The first layer is linear in the image feature, and bilinear sampling is linear too. So the feature
part of that layer is applied once per image (folded into the convolution that makes the map), and
what is sampled at points is already the narrow hidden map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from occ_perception.blocks.fields.hidden_layer import hidden_layer
from occ_perception.blocks.fields.positional import normalised_inverse_depth, positional_code
from occ_perception.blocks.fields.projection import (
    MIN_DEPTH_M,
    Taps,
    bilinear_taps,
    pieces,
    project_normalised,
    read_taps,
)


@dataclass(frozen=True)
class FieldRange:
    """How points are coded.

    Attributes:
        near_m: Depth that is coded as 1.
        far_m: Depth that is coded as -1.
        octaves: Frequencies of the positional code.
        max_uv: Bound of the image coordinates, None = unbounded.
    """

    near_m: float = 3.0
    far_m: float = 80.0
    octaves: int = 6
    max_uv: float | None = None

    @property
    def code_size(self) -> int:
        """Length of the positional code of (u, v, depth)."""
        return 3 * (1 + 2 * self.octaves)


class FieldPoints(NamedTuple):
    """Everything about points that does not depend on the image; constant per calibration.

    Attributes:
        taps: Pixels of the hidden map to read.
        code: Positional code.
        outside: Behind the camera or beside the image.
    """

    taps: Taps
    code: Float[Tensor, "b m e"]
    outside: Bool[Tensor, "b m"]


class EncodedView(NamedTuple):
    """An image that was encoded, and where it was taken.

    Attributes:
        hidden: Its hidden map.
        T_cam_world: World to its camera.
        K: Its normalised intrinsics.
    """

    hidden: Float[Tensor, "b hidden h w"]
    T_cam_world: Float[Tensor, "b 4 4"]
    K: Float[Tensor, "b 3 3"]


class FieldValues(NamedTuple):
    """The field at points.

    Attributes:
        density: 1/m.
        latent: What the field knows besides; no channels for a pure density field.
        outside: Points behind the camera or beside the image.
    """

    density: Float[Tensor, "b m"]
    latent: Float[Tensor, "b m l"]
    outside: Bool[Tensor, "b m"]


class PixelField(nn.Module):
    """Density and latent from image features and positions.

    Args:
        channels: Channels of the image features.
        hidden: Width of the hidden layer.
        latents: Channels of the latent.
        field_range: Coding of points.
        learn_empty: Points outside the image get a learnt feature instead of the border's.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        latents: int,
        field_range: FieldRange,
        learn_empty: bool = False,
    ) -> None:
        super().__init__()
        self.range = field_range
        self.channels = channels
        self.lin_in = nn.Linear(channels + field_range.code_size, hidden)
        self.lin_out = nn.Linear(hidden, 1 + latents)
        self.empty_feature = nn.Parameter(torch.randn(channels)) if learn_empty else None
        for layer in (self.lin_in, self.lin_out):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def encode(
        self,
        trunk: Callable[[Tensor], Tensor],
        output: nn.Conv2d,
        image: Float[Tensor, "b 3 h w"],
        flip: bool = False,
    ) -> Float[Tensor, "b hidden _ _"]:
        """Hidden map of an image.

        Args:
            trunk: The image network without its last convolution.
            output: That convolution; it makes the image features (`channels`).
            image: The input view.
            flip: Let the network see the mirrored image (augmentation); the map is mirrored back.
        """
        hidden = self.hidden_map(trunk(image.flip(-1) if flip else image), output)
        return hidden.flip(-1) if flip else hidden

    def hidden_map(
        self, features: Float[Tensor, "b d h w"], convolution: nn.Conv2d
    ) -> Float[Tensor, "b hidden h w"]:
        """Feature part of the hidden layer for a whole image.

        Args:
            features: Input of the image network's last convolution.
            convolution: That convolution; it makes the image features (`channels`).
        """
        weight = self.lin_in.weight[:, : self.channels]
        folded = {"weight": torch.einsum("oc,cikl->oikl", weight, convolution.weight)}
        if convolution.bias is not None:
            folded["bias"] = weight @ convolution.bias
        return functional_call(convolution, folded, (features,))

    @torch.no_grad()
    def locate(
        self,
        points: Float[Tensor, "b m 3"],
        T_cam_world: Float[Tensor, "b 4 4"],
        K: Float[Tensor, "b 3 3"],
        map_size: tuple[int, int],
    ) -> FieldPoints:
        """Prepare points for one encoded view; no gradient reaches them.

        Args:
            points: Points in the world frame, metres.
            T_cam_world: World to the encoded camera.
            K: Its normalised intrinsics.
            map_size: Height and width of the hidden map.
        """
        uv, depth, outside = project_normalised(points, T_cam_world, K)
        if self.range.max_uv is not None:
            uv = uv.clamp(-self.range.max_uv, self.range.max_uv)
        z = normalised_inverse_depth(depth, self.range.near_m, self.range.far_m, MIN_DEPTH_M)
        code = positional_code(torch.cat([uv, z[..., None]], dim=-1), self.range.octaves)
        return FieldPoints(bilinear_taps(uv, *map_size), code, outside)

    def position_part(self, code: Float[Tensor, "*m e"]) -> Float[Tensor, "*m hidden"]:
        """Position part of the hidden layer, bias included."""
        return F.linear(code, self.lin_in.weight[:, self.channels :], self.lin_in.bias)

    def activations(
        self, hidden_map: Float[Tensor, "b hidden h w"], points: FieldPoints
    ) -> Float[Tensor, "b m hidden"]:
        """Hidden layer at prepared points."""
        if self.empty_feature is None:
            weight = self.lin_in.weight[:, self.channels :]
            return hidden_layer(hidden_map, points.taps, points.code, weight, self.lin_in.bias)
        empty = self.lin_in.weight[:, : self.channels] @ self.empty_feature
        image_part = torch.where(
            points.outside[..., None], empty, read_taps(hidden_map, points.taps)
        )
        return F.relu(image_part + self.position_part(points.code))

    def density(self, activations: Float[Tensor, "*m hidden"]) -> Float[Tensor, "*m"]:
        """Density (1/m) of the hidden layer."""
        raw = F.linear(activations, self.lin_out.weight[:1], self.lin_out.bias[:1])
        return F.softplus(raw[..., 0])

    def latent(self, activations: Float[Tensor, "*m hidden"]) -> Float[Tensor, "*m l"]:
        """Latent of the hidden layer; worth asking where it is dense only."""
        return F.linear(activations, self.lin_out.weight[1:], self.lin_out.bias[1:])

    def forward(
        self, hidden_map: Float[Tensor, "b hidden h w"], points: FieldPoints
    ) -> FieldValues:
        """The field at prepared points."""
        hidden = self.activations(hidden_map, points)
        return FieldValues(self.density(hidden), self.latent(hidden), points.outside)

    def at(self, view: EncodedView, points: Float[Tensor, "b m 3"]) -> FieldValues:
        """The field of an encoded view at points of the world frame, metres."""
        size = (view.hidden.shape[-2], view.hidden.shape[-1])
        answers = [
            self(view.hidden, self.locate(piece, view.T_cam_world, view.K, size))
            for piece in pieces(points)
        ]
        return FieldValues(*(torch.cat(parts, dim=1) for parts in zip(*answers, strict=True)))


class VisiblePoints(NamedTuple):
    """The points of a set that lie inside the image; the others need no evaluation.

    Attributes:
        points: Prepared visible points of one image.
        index: Their indices in the whole set.
        total: Size of the whole set.
    """

    points: FieldPoints
    index: Tensor
    total: int

    def scatter(self, values: Shaped[Tensor, "v ..."], fill: float) -> Shaped[Tensor, "m ..."]:
        """Values of the whole set: `fill` where the camera sees nothing."""
        whole = values.new_full((self.total, *values.shape[1:]), fill)
        return whole.index_copy(0, self.index, values)


def keep_visible(points: FieldPoints) -> VisiblePoints:
    """Drop the points of a single image (batch 1) that lie outside of it."""
    index = (~points.outside[0]).nonzero()[:, 0]
    taps = Taps(points.taps.pixels[:, index], points.taps.weights[:, index])
    kept = FieldPoints(taps, points.code[:, index], points.outside[:, index])
    return VisiblePoints(kept, index, points.outside.shape[1])


def keep_all(points: FieldPoints) -> VisiblePoints:
    """Keep all points of a single image, as the published benchmarks do."""
    count = points.outside.shape[1]
    return VisiblePoints(points, torch.arange(count, device=points.code.device), count)
