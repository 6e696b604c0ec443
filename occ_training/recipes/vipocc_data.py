"""ViPOcc's and BTS's training samples: posed views with pseudo depth and objects to sample on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from occ_perception.core.errors import BagError, ConfigError
from occ_perception.eval.depth_maps import kitti360_depth
from occ_training.data.augment import ColourJitter
from occ_training.data.field_views import Place, SampleViews, multi_view
from occ_training.data.frame_lists import Frame
from occ_training.data.kept import Kept
from occ_training.data.moving import moved
from occ_training.data.posed_pictures import Picture, recoloured, subsampled
from occ_training.data.samples import LabelImage
from occ_training.data.sight import (
    SightPoints,
    SightSource,
    SightSpec,
    collate_sight,
    sensor_in_camera,
    sweep_at,
)
from occ_training.data.snog import SnogSampler, detections_in
from occ_training.data.views import MultiView, cat_views
from occ_training.labels.answers import depth_of_layer
from occ_training.world.teachers import guessed_depth

# Cityscapes ids of the objects that SNOG prefers.
OBJECTS: Mapping[int, str] = {24: "person", 26: "car"}
_PERSPECTIVE_VIEWS = 4


class FieldSamples(NamedTuple):
    """Samples side by side.

    Attributes:
        views: Posed views, the input first, with depths where they are wanted.
        anchors: SNOG's patch centres (x, y) on the four perspective views, or None.
        sight: Cells whose state the LiDAR tells, or None.
    """

    views: MultiView
    anchors: Int[Tensor, "b 4 n 2"] | None = None
    sight: SightPoints | None = None

    def to(self, device: torch.device) -> FieldSamples:
        """The same on another device; anchors stay where patches are drawn."""
        return moved(self, device, but=("anchors",))


def collate(samples: Sequence[FieldSamples]) -> FieldSamples:
    """A batch of samples of one each."""
    anchors = [sample.anchors for sample in samples if sample.anchors is not None]
    return FieldSamples(
        cat_views([sample.views for sample in samples]),
        torch.cat(anchors) if anchors else None,
        collate_sight([sample.sight for sample in samples]),
    )


class PseudoDepth(Protocol):
    """Where the depth of a foundation model comes from.

    Attributes:
        name: Kind, for the run's record.
    """

    name: str

    def __call__(self, place: Place, picture: Picture) -> Float[Tensor, "1 h w"]:
        """Depth of a picture, metres; 0 = none."""
        ...


class LayerDepth:
    """A label layer that `occ label` made; the pictures' layers are named like their cameras.

    Args:
        folders: Folders of the cameras' topics, in the order of the drives' pictures.
    """

    name = "label layer"

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = folders

    def topics(self) -> dict[str, str]:
        """Topics of the layers by name."""
        return {f"pseudo {folder}": f"/labels{folder}/depth" for folder in self._folders}

    def __call__(self, place: Place, picture: Picture) -> Float[Tensor, "1 h w"]:
        """Depth of a picture, metres; 0 = none.

        Raises:
            BagError: The layer is of another size than image and network.
        """
        scene, row, number = place
        folder, size = self._folders[number], picture.image.shape[-2:]
        layer = scene.label(f"pseudo {folder}", row)
        if not isinstance(layer, LabelImage):
            raise BagError(f"drive {scene.name}: /labels{folder}/depth has no images of values")
        camera = scene.rig(row)[number][0]
        if layer.values.shape not in {(camera.height, camera.width), tuple(size)}:
            raise BagError(
                f"drive {scene.name}: pseudo depth of {folder} is "
                f"{'x'.join(map(str, layer.values.shape[::-1]))}, the images are "
                f"{camera.width}x{camera.height}: label the drive again"
            )
        return subsampled(depth_of_layer(layer.values), (size[0], size[1]))[None]


class ToyDepth:
    """The procedural world's stand-in for the foundation model, wrong as a real one is."""

    name = "toy"

    def __call__(self, place: Place, picture: Picture) -> Float[Tensor, "1 h w"]:
        """Depth of a picture, metres; 0 = none.

        Raises:
            BagError: The drive has no true depth.
        """
        if picture.depth_m is None:
            raise BagError(f"drive {place.scene.name} has no true depth: it is not computed")
        true_m = picture.depth_m.numpy()
        rng = np.random.default_rng((crc32(place.scene.name.encode()), place.row, place.camera))
        seen = np.where(true_m > 0, true_m, np.inf).astype(np.float32)
        return torch.from_numpy(guessed_depth(seen, rng))[None]


@dataclass(frozen=True)
class Anchors:
    """SNOG's patches on objects.

    Attributes:
        count: Per view.
        patch: Edge length, pixels.
    """

    count: int
    patch: int


@dataclass(frozen=True)
class Extras:
    """What samples carry beside their views.

    Attributes:
        pseudo_depth: Of the input's camera, or None.
        hole_depth_m: What the pseudo depth is where it says nothing, which is mostly the sky.
        lidar: Depth of the LiDAR's points in the same pictures.
        sight: What the LiDAR's beams tell on the whole drive, or None.
        anchors: Patches on objects of the drives' class layers, or None.
        colours: Random change of colours, the same for all views of a sample; None = none.
    """

    pseudo_depth: PseudoDepth | None = None
    hole_depth_m: float = 80.0
    lidar: bool = False
    sight: SightSpec | None = None
    anchors: Anchors | None = None
    colours: ColourJitter | None = None


class FieldDataset(Dataset[FieldSamples]):
    """Samples of a density field's training.

    Args:
        views: Which pictures make a sample.
        extras: What comes along.
    """

    def __init__(self, views: SampleViews, extras: Extras) -> None:
        self.source, self._views, self._extras = views.source, views, extras
        self._pseudo: Kept[Place, Tensor] = Kept(2 * views.source.spec.kept)
        self._lidar: Kept[Place, Tensor] = Kept(2 * views.source.spec.kept)
        self._sight = extras.sight and SightSource(extras.sight, views.source.spec.kept)

    def __len__(self) -> int:
        return len(self._views)

    def frames(self) -> frozenset[Frame]:
        """Drive and number of every input."""
        return self._views.frames()

    def set_epoch(self, epoch: int) -> None:
        """Make all random choices anew."""
        self._views.set_epoch(epoch)

    def __getitem__(self, index: int) -> FieldSamples:
        """A sample.

        Raises:
            IndexError: There is no such sample.
            OccError: A message is damaged or a layer does not fit.
        """
        rng, extras = self._views.random(index), self._extras
        places = self._views.places(index, rng)
        pictures = self._views.pictures(places)
        now_and_next = list(zip(places[:2], pictures[:2], strict=True))
        anchors = None
        if extras.anchors is not None:
            chosen = pictures[:_PERSPECTIVE_VIEWS]
            anchors = torch.stack([_anchors(p, extras.anchors, rng) for p in chosen])[None]
        if extras.colours is not None:
            pictures = recoloured(pictures, extras.colours.draw(rng))
        views = multi_view(pictures)
        if extras.pseudo_depth is not None:
            depths = [self._pseudo_of(*each) for each in now_and_next]
            views = views._replace(pseudo_depth_m=torch.stack(depths)[None])
        if extras.lidar:
            lidar = [self._lidar_of(*each) for each in now_and_next]
            views = views._replace(lidar_depth_m=torch.stack(lidar)[None])
        sight = self._sight and self._sight.draw(places[0], pictures[0].K, rng)
        return FieldSamples(views, anchors, sight)

    def _pseudo_of(self, place: Place, picture: Picture) -> Tensor:
        return self._pseudo.get(place, lambda: self._without_holes(place, picture))

    def _lidar_of(self, place: Place, picture: Picture) -> Tensor:
        return self._lidar.get(place, lambda: lidar_depth(place, picture))

    def _without_holes(self, place: Place, picture: Picture) -> Tensor:
        depth = self._extras.pseudo_depth(place, picture)  # type: ignore[misc]
        known = depth.isfinite() & (depth > 0)
        if not known.any():
            raise BagError(f"drive {place.scene.name}, row {place.row}: the pseudo depth is empty")
        return depth.where(known, depth.new_tensor(self._extras.hole_depth_m))


def lidar_depth(place: Place, picture: Picture) -> Float[Tensor, "1 h w"]:
    """Depth of the LiDAR's points in a picture, metres; 0 = none.

    The published loader gives right images the left camera's depth; this is each camera's own.

    Raises:
        BagError: The layer has no points.
    """
    points, size = sweep_at(place), picture.image.shape[-2:]
    P = picture.K.double().numpy() @ sensor_in_camera(place, points)[:3]
    return torch.from_numpy(kitti360_depth(points.xyz, P, (size[0], size[1])))[None]


def _anchors(picture: Picture, wanted: Anchors, rng: np.random.Generator) -> Tensor:
    if picture.classes is None:
        raise ConfigError("SNOG needs class images: name their layer or sample at random")
    height, width = picture.image.shape[-2:]
    sampler = SnogSampler((height, width), wanted.patch, rng)
    centres = sampler.centres(detections_in(picture.classes.numpy(), OBJECTS), wanted.count)
    return torch.from_numpy(centres)
