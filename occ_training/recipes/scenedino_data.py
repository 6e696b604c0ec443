"""SceneDINO's training samples: eight posed views of a place, or one view with classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from occ_perception.core.cityscapes import kitti360_train_ids
from occ_training.data.augment import ColourJitter
from occ_training.data.field_views import SampleViews, ViewTimes, multi_view, unit_range
from occ_training.data.moving import moved
from occ_training.data.posed_pictures import Picture, PictureDrives, recoloured
from occ_training.data.sight import SightPoints, SightSource, SightSpec, collate_sight
from occ_training.data.views import MultiView, cat_views
from occ_training.labels.patch_features import Surfaces


class FieldBatch(NamedTuple):
    """Samples of several views side by side.

    Attributes:
        views: The views, the input first.
        surfaces: What is really there, for stand-ins; None in real drives.
        sight: Cells whose state the LiDAR tells, or None.
    """

    views: MultiView
    surfaces: Surfaces | None = None
    sight: SightPoints | None = None

    def to(self, device: torch.device) -> FieldBatch:
        """The same on another device."""
        return moved(self, device)


class InputBatch(NamedTuple):
    """Single views side by side.

    Attributes:
        image: RGB -1..1.
        K: Normalised intrinsics.
        labels: Cityscapes train ids, -1 = none.
    """

    image: Float[Tensor, "b 3 h w"]
    K: Float[Tensor, "b 3 3"]
    labels: Int[Tensor, "b h w"]

    def to(self, device: torch.device) -> InputBatch:
        """The same on another device."""
        return moved(self, device)


def collate_views(samples: Sequence[FieldBatch]) -> FieldBatch:
    """A batch of samples of one each."""
    surfaces = [sample.surfaces for sample in samples if sample.surfaces is not None]
    return FieldBatch(
        cat_views([sample.views for sample in samples]),
        Surfaces(*map(torch.cat, zip(*surfaces, strict=True))) if surfaces else None,
        collate_sight([sample.sight for sample in samples]),
    )


def collate_inputs(samples: Sequence[InputBatch]) -> InputBatch:
    """A batch of samples of one each."""
    return InputBatch(*map(torch.cat, zip(*samples, strict=True)))


class MultiViewDataset(Dataset[FieldBatch]):
    """Samples of eight views.

    Args:
        source: Pictures of the drives with `field_views.CAMERAS`.
        times: When views are taken.
        seed: Of the choice of the fisheyes' frames.
        sight: What the LiDAR's beams tell on the whole drive, or None.
        colours: Random change of colours, the same for all views of a sample; None = none.
    """

    def __init__(
        self,
        source: PictureDrives,
        times: ViewTimes,
        seed: int = 0,
        sight: SightSpec | None = None,
        colours: ColourJitter | None = None,
    ) -> None:
        self.source, self._views = source, SampleViews(source, times, seed)
        self._sight = sight and SightSource(sight, source.spec.kept)
        self._colours = colours

    def set_epoch(self, epoch: int) -> None:
        """Make the choice of frames anew."""
        self._views.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: int) -> FieldBatch:
        """A sample.

        Raises:
            IndexError: There is no such sample.
            OccError: A message is damaged.
        """
        rng = self._views.random(index)
        places = self._views.places(index, rng)
        pictures = self._views.pictures(places)
        if self._colours is not None:
            pictures = recoloured(pictures, self._colours.draw(rng))
        sight = self._sight and self._sight.draw(places[0], pictures[0].K, rng)
        return FieldBatch(multi_view(pictures), surfaces_of(pictures), sight)


class InputDataset(Dataset[InputBatch]):
    """Single views: the left camera's with its classes, or, every other time, a fisheye's without.

    Args:
        source: Pictures of the drives with `CAMERAS` and classes.
        fisheyes: Share of samples that are a fisheye's view instead of the left camera's.
        seed: Of the choice.
    """

    def __init__(self, source: PictureDrives, fisheyes: float = 0.5, seed: int = 0) -> None:
        self.source, self._fisheyes, self._seed = source, fisheyes, seed
        self._epoch = 0
        self._places = [(s, row) for s in source.scenes for row in s.anchors.tolist()]

    def set_epoch(self, epoch: int) -> None:
        """Make the choice of views anew."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> InputBatch:
        """A sample.

        Raises:
            IndexError: There is no such sample.
            OccError: A message is damaged.
        """
        scene, row = self._places[index]
        rng = np.random.default_rng((self._seed, self._epoch, index))
        camera = int(rng.integers(2, 4)) if rng.random() < self._fisheyes else 0
        picture = self.source.picture(scene, row, camera)
        labels = torch.full(picture.image.shape[1:], -1)
        if camera == 0 and picture.classes is not None:
            labels = torch.from_numpy(kitti360_train_ids(picture.classes.numpy())).long()
        return InputBatch(unit_range(picture.image)[None], picture.K[None], labels[None])


def surfaces_of(pictures: Sequence[Picture]) -> Surfaces | None:
    """What is really there in pictures, as a batch of one; None where that is not known."""
    known = [(p.classes, p.depth_m) for p in pictures if p.classes is not None]
    if not known or known[0][1] is None:
        return None
    return Surfaces(*(torch.stack(maps)[None] for maps in zip(*known, strict=True)))
