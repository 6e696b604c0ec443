"""Several posed views of one place, and which of them teach the field what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.blocks.fields.pixel_field import EncodedView


class MultiView(NamedTuple):
    """A batch of posed views; view 0 is the encoded one.

    Attributes:
        images: RGB -1..1.
        K: Normalised intrinsics.
        T_world_cam: World poses; re-base them with `rebased` before rendering.
        pseudo_depth_m: Pseudo depth of frames t and t+1 (views 0 and 1), metres, or None.
        lidar_depth_m: LiDAR depth of the same frames, 0 = none, or None.
    """

    images: Float[Tensor, "b v 3 h w"]
    K: Float[Tensor, "b v 3 3"]
    T_world_cam: Float[Tensor, "b v 4 4"]
    pseudo_depth_m: Float[Tensor, "b 2 1 h w"] | None = None
    lidar_depth_m: Float[Tensor, "b 2 1 h w"] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images, pixels."""
        return self.images.shape[-2], self.images.shape[-1]


def cat_views(batches: Sequence[MultiView]) -> MultiView:
    """Batches side by side; all have depths or none has."""
    columns = zip(*batches, strict=True)
    return MultiView(*(None if part[0] is None else torch.cat(part) for part in columns))


def rebased(T_world_cam: Float[Tensor, "b v 4 4"]) -> Float[Tensor, "b v 4 4"]:
    """Poses relative to view 0; composed in float64, world coordinates are kilometres large."""
    poses = T_world_cam.double()
    return torch.linalg.solve(poses[:, :1], poses).to(T_world_cam.dtype)


def view_zero(hidden: Tensor, views: MultiView) -> EncodedView:
    """The encoded view 0, whose camera is the common frame."""
    identity = torch.eye(4, device=hidden.device, dtype=views.K.dtype)
    return EncodedView(hidden, identity.expand(len(hidden), 4, 4), views.K[:, 0])


class Partition(NamedTuple):
    """Roles of the views in one step.

    Attributes:
        loss: Views that provide the target pixels.
        render: Views that lend their colours.
    """

    loss: list[int]
    render: list[int]


def crossed_partition(rng: np.random.Generator) -> Partition:
    """ViPOcc's split of KITTI-360's eight views: times alternate from camera to camera."""
    first, second = [0, 3, 4, 7], [1, 2, 5, 6]
    return Partition(first, second) if rng.random() < 0.5 else Partition(second, first)


def random_partition(views: int, rng: np.random.Generator) -> Partition:
    """BTS's split of KITTI Raw: a random half lends its colours to the other half."""
    render = sorted(rng.choice(views, size=views // 2, replace=False).tolist())
    return Partition([v for v in range(views) if v not in render], render)


def paired_partition(views: int, rng: np.random.Generator) -> Partition:
    """SceneDINO's split: of each consecutive pair one view is the target, the other lends colours.

    The even one is the target in two of three cases (an inclusive bound in the official code).
    """
    even_first = rng.random(views // 2) < 2 / 3
    pairs = [
        (2 * i, 2 * i + 1) if even else (2 * i + 1, 2 * i) for i, even in enumerate(even_first)
    ]
    return Partition([loss for loss, _ in pairs], [render for _, render in pairs])


def alternating_partition(views: int, rng: np.random.Generator) -> Partition:
    """SceneDINO's split of videos: all even views against all odd ones."""
    even, odd = list(range(0, views, 2)), list(range(1, views, 2))
    return Partition(even, odd) if rng.random() < 2 / 3 else Partition(odd, even)


def evaluation_partition(views: int) -> Partition:
    """Every view is a target, the encoded one lends its colours."""
    return Partition(list(range(views)), [0])
