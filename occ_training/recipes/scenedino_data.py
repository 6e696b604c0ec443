"""SceneDINO's training samples: eight posed views of a place, or one view with classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from occ_training.convert.kitti360_labels import kitti360_train_ids
from occ_training.data.bag_scene import BagScene
from occ_training.data.posed_pictures import Picture, PictureDrives
from occ_training.data.views import MultiView
from occ_training.labels.patch_features import Surfaces

CAMERAS = ("/perspective/left", "/perspective/right", "/fisheye/left", "/fisheye/right")


class FieldBatch(NamedTuple):
    """Samples of several views side by side.

    Attributes:
        views: The views, the input first.
        surfaces: What is really there, for stand-ins; None in real drives.
    """

    views: MultiView
    surfaces: Surfaces | None = None

    def to(self, device: torch.device) -> FieldBatch:
        """The same on another device."""
        surfaces = self.surfaces and Surfaces(*(x.to(device) for x in self.surfaces))
        return FieldBatch(
            MultiView(*(x if x is None else x.to(device) for x in self.views)), surfaces
        )


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
        return InputBatch(*(x.to(device) for x in self))


def collate_views(samples: Sequence[FieldBatch]) -> FieldBatch:
    """A batch of samples of one each."""
    views = [sample.views for sample in samples]
    surfaces = [sample.surfaces for sample in samples if sample.surfaces is not None]
    return FieldBatch(
        MultiView(*(torch.cat(part) for part in list(zip(*views, strict=True))[:3])),
        Surfaces(*map(torch.cat, zip(*surfaces, strict=True))) if surfaces else None,
    )


def collate_inputs(samples: Sequence[InputBatch]) -> InputBatch:
    """A batch of samples of one each."""
    return InputBatch(*map(torch.cat, zip(*samples, strict=True)))


@dataclass(frozen=True)
class ViewTimes:
    """When the further views of a sample are taken; published: frames of 0.1 s.

    Attributes:
        fisheye_s: Shortest and longest time from the input to the fisheyes' views, seconds; they
            look to the sides, so the input's surfaces come into their sight later.
    """

    fisheye_s: tuple[float, float] = (1.0, 4.0)


class MultiViewDataset(Dataset[FieldBatch]):
    """Each frame twice: with the left and with the right camera's image as the input.

    Views: the input's camera, the other one and both fisheyes, each at two consecutive frames.

    Args:
        source: Pictures of the drives with `CAMERAS`.
        times: When views are taken.
        seed: Of the choice of the fisheyes' frames.
    """

    def __init__(self, source: PictureDrives, times: ViewTimes, seed: int = 0) -> None:
        self.source, self._times, self._seed = source, times, seed
        self._epoch = 0
        self._places = [
            (scene, row, is_right)
            for scene in source.scenes
            for row in scene.anchors.tolist()
            if _follows(scene, row)
            for is_right in (False, True)
        ]

    def set_epoch(self, epoch: int) -> None:
        """Make the choice of frames anew."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> FieldBatch:
        """A sample.

        Raises:
            IndexError: There is no such sample.
            OccError: A message is damaged.
        """
        scene, row, is_right = self._places[index]
        later = self._later(scene, row, np.random.default_rng((self._seed, self._epoch, index)))
        first, other = (1, 0) if is_right else (0, 1)
        fisheyes = (3, 2) if is_right else (2, 3)
        order = [(row, first), (row, other), (later, fisheyes[0]), (later, fisheyes[1])]
        pictures = [
            self.source.picture(scene, at, camera)
            for start, camera in order
            for at in (start, start + 1)
        ]
        return FieldBatch(multi_view(pictures), surfaces_of(pictures))

    def _later(self, scene: BagScene, row: int, rng: np.random.Generator) -> int:
        """Row of the fisheyes' first frame: as far ahead as is drawn, or as the drive goes."""
        ahead_ns = rng.uniform(*self._times.fisheye_s) * 1e9
        rows = [r for r in scene.anchors.tolist() if r >= row and _follows(scene, r)]
        rows = [r for r in rows if scene.pieces[r] == scene.pieces[row]]
        wanted = scene.stamp_ns(row) + ahead_ns
        return min(rows, key=lambda r: abs(scene.stamp_ns(r) - wanted))


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


def multi_view(pictures: Sequence[Picture]) -> MultiView:
    """Pictures as a batch of one."""
    images, K, poses = (torch.stack([p[i] for p in pictures])[None] for i in range(3))
    return MultiView(unit_range(images), K, poses)


def surfaces_of(pictures: Sequence[Picture]) -> Surfaces | None:
    """What is really there in pictures, as a batch of one; None where that is not known."""
    known = [(p.classes, p.depth_m) for p in pictures if p.classes is not None]
    if not known or known[0][1] is None:
        return None
    return Surfaces(*(torch.stack(maps)[None] for maps in zip(*known, strict=True)))


def unit_range(image: Tensor) -> Float[Tensor, "*b"]:
    """Bytes as -1..1."""
    return image.float() / 127.5 - 1


def _follows(scene: BagScene, row: int) -> bool:
    """Whether the next frame is of the same unbroken piece of the drive, and whole."""
    return row + 1 in scene.anchors and scene.pieces[row] == scene.pieces[row + 1]
