"""Pictures of a drive at a network's size, each with intrinsics, pose and what is really there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from occ_perception.bags.cameras import cameras_of_bag
from occ_perception.bags.index import MessageStore, open_index
from occ_perception.blocks.fields.prepare import stretch, view_intrinsics
from occ_perception.core.errors import CalibrationError, ConfigError
from occ_training.data.augment import Recolour
from occ_training.data.bag_scene import Bags, BagScene, SampleSpec
from occ_training.data.kept import Kept
from occ_training.data.rectify import FisheyeView
from occ_training.data.samples import LabelImage

CLASSES, DEPTH = "classes", "depth"
_TOPICS = {CLASSES: "semantic/compressed", DEPTH: "depth"}


class Picture(NamedTuple):
    """One picture at the network's size.

    Attributes:
        image: RGB.
        K: Normalised intrinsics.
        T_world_cam: Pose.
        classes: Ids of the class image, 0 where the lens sees nothing; None if not asked for.
        depth_m: Depth along the axis, infinite where there is no surface; None if not asked for.
    """

    image: UInt8[Tensor, "3 h w"]
    K: Float[Tensor, "3 3"]
    T_world_cam: Float[Tensor, "4 4"]
    classes: UInt8[Tensor, "h w"] | None
    depth_m: Float[Tensor, "h w"] | None


@dataclass(frozen=True)
class PictureSpec:
    """What is wanted of a drive.

    Attributes:
        cameras: Folders of the cameras' topics, e.g. "/perspective/left".
        size: Height and width of the pictures, pixels.
        truth: Layers of the procedural world that are wanted: "classes", "depth".
        truth_cameras: Cameras that they are wanted of; empty = all.
        fisheye: Pinhole view that is cut out of fisheyes.
        world_frame: Frame of the poses.
        kept: Instants whose pictures stay decoded; of 192 x 640 pixels, four are 1.5 MB.
    """

    cameras: tuple[str, ...]
    size: tuple[int, int]
    truth: tuple[str, ...] = ()
    truth_cameras: tuple[str, ...] = ()
    fisheye: FisheyeView = field(default_factory=FisheyeView)
    world_frame: str = "map"
    kept: int = 512

    def wanted_truth(self) -> list[tuple[str, str]]:
        """Layers with the camera that they belong to."""
        return [(name, of) for name in self.truth for of in self.truth_cameras or self.cameras]


class PictureDrives:
    """Several drives; what was decoded last is kept, pictures of a network's size are small.

    Args:
        bags: The drives.
        spec: What is wanted.
        layers: Further layers with one message per instant: topics by name.

    Attributes:
        scenes: The drives.

    Raises:
        OccError: A bag, camera or layer is missing or cannot be used.
    """

    def __init__(
        self, bags: Sequence[Bags], spec: PictureSpec, layers: Mapping[str, str] | None = None
    ) -> None:
        if not bags:
            raise ConfigError("no bags: name at least one drive")
        self.spec = spec
        self.scenes = [_open(each, spec, layers or {}) for each in bags]
        self._kept: Kept[tuple[str, int], list[Picture]] = Kept(spec.kept)

    def __len__(self) -> int:
        return sum(map(len, self.scenes))

    def picture(self, scene: BagScene, row: int, camera: int) -> Picture:
        """A camera's picture of an instant.

        Args:
            scene: One of the drives.
            row: The instant.
            camera: Number in `spec.cameras`.

        Raises:
            OccError: A message is damaged.
        """
        return self._kept.get((scene.name, row), lambda: self._decode(scene, row))[camera]

    def _decode(self, scene: BagScene, row: int) -> list[Picture]:
        size, made = self.spec.size, []
        for view, folder in zip(scene.views(row), self.spec.cameras, strict=True):
            prepared = stretch(view.frame, size)
            rectifier = scene.rectifier(view.frame.camera.name)
            truth = {
                name: scene.label(f"{name} {folder}", row)
                for name, of in self.spec.wanted_truth()
                if of == folder
            }
            classes, depth = (_values(truth.get(name)) for name in (CLASSES, DEPTH))
            made.append(
                Picture(
                    ((prepared.image + 1) * 127.5).round().to(torch.uint8),
                    view_intrinsics(prepared),
                    torch.from_numpy(np.asarray(view.T_world_cam, np.float32)),
                    None if classes is None else subsampled(rectifier.values(classes), size),
                    None if depth is None else subsampled(rectifier.depth(depth), size),
                )
            )
        return made


def recoloured(pictures: Sequence[Picture], change: Recolour) -> list[Picture]:
    """The pictures with their colours changed, all alike."""
    return [each._replace(image=_recoloured(each.image, change)) for each in pictures]


def subsampled(values: npt.NDArray[np.generic], size: tuple[int, int]) -> Tensor:
    """Values `[H, W]` at the pixels nearest to those of a picture `[h, w]`, never mixed."""
    rows, columns = (
        ((np.arange(n) + 0.5) * have / n).astype(np.int64)
        for n, have in zip(size, values.shape, strict=True)
    )
    return torch.from_numpy(np.ascontiguousarray(values[np.ix_(rows, columns)]))


def _recoloured(image: Tensor, change: Recolour) -> Tensor:
    pixels: npt.NDArray[np.uint8] = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    return torch.from_numpy(np.ascontiguousarray(change(pixels).transpose(2, 0, 1)))


def _values(layer: object) -> npt.NDArray[np.generic] | None:
    return layer.values if isinstance(layer, LabelImage) else None


def _open(bags: Bags, spec: PictureSpec, layers: Mapping[str, str]) -> BagScene:
    """A drive with the cameras of the given folders."""
    found = cameras_of_bag(index := open_index(bags.recording), MessageStore(index.files))
    topics = []
    for folder in spec.cameras:
        mine = [name for name in found if name.startswith(f"{folder}/")]
        if not mine:
            raise CalibrationError(
                f"bag {bags.recording} has no calibrated camera below {folder}; it has "
                f"{', '.join(found) or 'none'}"
            )
        topics.append(mine[0])
    labels = dict(layers) | {
        f"{name} {folder}": f"/ground_truth{folder}/{_TOPICS[name]}"
        for name, folder in spec.wanted_truth()
    }
    wanted = SampleSpec(
        tuple(topics), labels=labels, world_frame=spec.world_frame, fisheye=spec.fisheye
    )
    return BagScene(bags, wanted)
