"""Which posed pictures of a drive make one sample of a density field's training.

Shared by ViPOcc, BTS and SceneDINO: the input's camera and the other one of the stereo pair now and
at the next frame, and both fisheyes a while later, when the input's surfaces come into their sight.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.core.errors import BagError
from occ_training.data.bag_scene import BagScene
from occ_training.data.frame_lists import Frame
from occ_training.data.posed_pictures import Picture, PictureDrives
from occ_training.data.views import MultiView

STEREO = ("/perspective/left", "/perspective/right")
FISHEYES = ("/fisheye/left", "/fisheye/right")
CAMERAS = (*STEREO, *FISHEYES)


@dataclass(frozen=True)
class ViewTimes:
    """When the further views of a sample are taken; published: frames of 0.1 s.

    Attributes:
        fisheye_s: Shortest and longest time from the input to the fisheyes' views, seconds, as far
            as the drive goes.
    """

    fisheye_s: tuple[float, float] = (1.0, 4.0)


class Place(NamedTuple):
    """Where a picture is.

    Attributes:
        scene: The drive.
        row: Row of the instant.
        camera: Number of the camera in the drive's pictures.
    """

    scene: BagScene
    row: int
    camera: int


class SampleViews:
    """Every frame that has a next one twice: with the left and with the right image as the input.

    Views: the input's camera, the other one and, if the pictures have them, both fisheyes (the
    input's side first), each at two consecutive frames.

    Args:
        source: Pictures of the drives with `CAMERAS` or `STEREO`.
        times: When views are taken.
        seed: Of the choice of the fisheyes' frames.
        only: Inputs that are wanted, as drive and number of the image in it; None = all.

    Raises:
        BagError: No wanted frame has a next one.
    """

    def __init__(
        self,
        source: PictureDrives,
        times: ViewTimes,
        seed: int = 0,
        only: Collection[Frame] | None = None,
    ) -> None:
        self.source, self._times, self._seed = source, times, seed
        self._fisheyes = len(source.spec.cameras) > len(STEREO)
        self._epoch = 0
        self._inputs = [
            (scene, row, is_right)
            for scene in source.scenes
            for row in scene.anchors.tolist()
            if follows(scene, row) and (only is None or (scene.name, row) in only)
            for is_right in (False, True)
        ]
        if not self._inputs:
            names = ", ".join(scene.name for scene in source.scenes)
            listed = "" if only is None else " and is listed"
            raise BagError(
                f"no frame of {names} has a next one with all cameras and a pose{listed}"
            )

    def __len__(self) -> int:
        return len(self._inputs)

    def set_epoch(self, epoch: int) -> None:
        """Make the choice of frames anew."""
        self._epoch = epoch

    def frames(self) -> frozenset[Frame]:
        """Drive and number of every input."""
        return frozenset((scene.name, row) for scene, row, _ in self._inputs)

    def random(self, index: int) -> np.random.Generator:
        """Random numbers of a sample in this epoch."""
        return np.random.default_rng((self._seed, self._epoch, index))

    def places(self, index: int, rng: np.random.Generator) -> list[Place]:
        """The views of a sample, the input first.

        Args:
            index: Number of the sample.
            rng: Chooses the fisheyes' frame.

        Raises:
            IndexError: There is no such sample.
        """
        scene, row, is_right = self._inputs[index]
        sides = (1, 0) if is_right else (0, 1)
        starts = [(row, side) for side in sides]
        if self._fisheyes:
            later = self._later(scene, row, rng)
            starts += [(later, len(STEREO) + side) for side in sides]
        return [Place(scene, at, camera) for start, camera in starts for at in (start, start + 1)]

    def pictures(self, places: Sequence[Place]) -> list[Picture]:
        """The pictures themselves.

        Raises:
            OccError: A message is damaged.
        """
        return [self.source.picture(*place) for place in places]

    def _later(self, scene: BagScene, row: int, rng: np.random.Generator) -> int:
        """Row of the fisheyes' first frame: as far ahead as is drawn, or as the drive goes."""
        ahead_ns = rng.uniform(*self._times.fisheye_s) * 1e9
        rows = [r for r in scene.anchors.tolist() if r >= row and follows(scene, r)]
        rows = [r for r in rows if scene.pieces[r] == scene.pieces[row]]
        wanted = scene.stamp_ns(row) + ahead_ns
        return min(rows, key=lambda r: abs(scene.stamp_ns(r) - wanted))


def multi_view(pictures: Sequence[Picture]) -> MultiView:
    """Pictures as a batch of one."""
    images, K, poses = (torch.stack([p[i] for p in pictures])[None] for i in range(3))
    return MultiView(unit_range(images), K, poses)


def unit_range(image: Tensor) -> Float[Tensor, "*b"]:
    """Bytes as -1..1."""
    return image.float() / 127.5 - 1


def follows(scene: BagScene, row: int) -> bool:
    """Whether the next frame is of the same unbroken piece of the drive, and whole."""
    return row + 1 in scene.anchors and scene.pieces[row] == scene.pieces[row + 1]
