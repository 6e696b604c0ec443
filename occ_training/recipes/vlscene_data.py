"""VLScene's training samples: a stereo pair, voxel truth, what LiDAR and teacher say about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from occ_perception.bags.reader import BagReader
from occ_perception.bags.stereo import find_stereo
from occ_perception.core.camera import Camera
from occ_perception.core.errors import BagError, ConfigError
from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import LabelMap, load_label_map
from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_perception.systems.vlscene.depth_targets import depth_bin_targets
from occ_perception.systems.vlscene.distillation import TeacherTargets
from occ_perception.systems.vlscene.model import PointQueries
from occ_perception.systems.vlscene.preprocess import FitKind, ImageFit, choose_fit, prepare_view
from occ_perception.systems.vlscene.stereo_geometry import StereoGeometry
from occ_perception.systems.vlscene.stereo_pair import pair_geometry
from occ_training.data.augment import mirrored, swapped_pair
from occ_training.data.bag_dataset import BagDataset
from occ_training.data.bag_scene import Bags, SampleSpec
from occ_training.data.lidar_targets import depth_image, point_targets, see_points
from occ_training.data.samples import LabelImage, Points, Sample, Voxels
from occ_training.data.semantickitti_labels import IGNORE, point_table

VOXELS, POINTS, FEATURES, LOGITS = "voxels", "points", "features", "logits"
CLASSES, RIGHT_CLASSES = "classes", "right_classes"


@dataclass(frozen=True)
class VLSceneTopics:
    """Where in the bags things are; an empty name = the training does without.

    Attributes:
        left: Image topic of the left camera; empty = found by the calibrations.
        right: Image topic of the right camera.
        voxels: Voxel truth.
        points: LiDAR points with a class each, for the losses on depth and points.
        features: Label layer of the teacher's features.
        logits: Label layer of the teacher's class logits.
        classes: Class image for a stand-in teacher.
        right_classes: The same of the right camera, for mirrored pairs.
    """

    left: str = ""
    right: str = ""
    voxels: str = "/ground_truth/voxels"
    points: str = "/ground_truth/points"
    features: str = ""
    logits: str = ""
    classes: str = ""
    right_classes: str = ""

    def layers(self) -> dict[str, str]:
        """Topics of the label layers, by name."""
        names = (VOXELS, POINTS, FEATURES, LOGITS, CLASSES, RIGHT_CLASSES)
        return {name: topic for name in names if (topic := getattr(self, name))}


@dataclass(frozen=True)
class MirroredPairs:
    """Mirrors some of the streets; the former right camera is then the left one.

    Attributes:
        share: Of the samples.
    """

    share: float

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """A sample, mirrored or not; labels of the former left camera's pixels are left out."""
        if rng.random() >= self.share:
            return sample
        sample = swapped_pair(mirrored(sample))
        labels = dict(sample.labels)
        seen_by_right = labels.pop(RIGHT_CLASSES, None)
        for name in (CLASSES, FEATURES, LOGITS):
            labels.pop(name, None)
        if seen_by_right is not None:
            labels[CLASSES] = seen_by_right
        return replace(sample, labels=labels)


class VLSceneSample(NamedTuple):
    """One stereo pair and its targets.

    Attributes:
        left: Normalised left image.
        right: Normalised right image.
        geometry: Calibration.
        truth: Class per voxel, 255 = not known; None where only images are wanted.
        depth_bins: Target bin of every feature cell, or None without LiDAR.
        points: Where LiDAR points are, or None.
        point_labels: Their classes, 0 = none.
        teacher: The teacher's answer from a label layer, or None.
        class_image: Class per pixel of the left image for a stand-in teacher, or None.
        name: Scene and stamp, for messages.
    """

    left: Float[Tensor, "3 h w"]
    right: Float[Tensor, "3 h w"]
    geometry: StereoGeometry
    truth: UInt8[Tensor, "x y z"] | None = None
    depth_bins: Int[Tensor, "mh mw"] | None = None
    points: PointQueries | None = None
    point_labels: Int[Tensor, " n"] | None = None
    teacher: TeacherTargets | None = None
    class_image: UInt8[Tensor, "h w"] | None = None
    name: str = ""


class VLSceneDataset(Dataset[VLSceneSample]):
    """Samples of bags as VLScene learns from them.

    Args:
        bags: Drives with their label layers.
        config: Sizes of the network.
        topics: Where in the bags things are.
        fit: How images are brought to the network's size.
        seed: Of the mirroring.
        mirror: Share of the samples that are mirrored.
    """

    def __init__(
        self,
        bags: Sequence[Bags | Path],
        config: VLSceneConfig,
        topics: VLSceneTopics | None = None,
        fit: FitKind = "auto",
        seed: int = 0,
        mirror: float = 0.0,
    ) -> None:
        topics = topics or VLSceneTopics()
        self.config, self._fit_kind = config, fit
        self._labels = load_label_map("semantickitti")
        spec = SampleSpec(
            cameras=stereo_topics(bags, topics),
            labels=topics.layers(),
            base_frame=config.frame_id,
        )
        if mirror and (topics.features or topics.logits):
            raise ConfigError("label layers are of the left camera alone: train without mirroring")
        transform = MirroredPairs(mirror) if mirror else None
        self.source = BagDataset(bags, spec, transform=transform, seed=seed)
        self._fits: dict[tuple[object, ...], ImageFit] = {}
        self._class_table = torch.from_numpy(point_table())

    def __len__(self) -> int:
        return len(self.source)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the augmentation."""
        self.source.set_epoch(epoch)

    def __getitem__(self, index: int) -> VLSceneSample:
        """One sample.

        Raises:
            OccError: A message is damaged, or labels are not those of this network.
        """
        return self.prepared(self.source[index])

    def prepared(self, sample: Sample) -> VLSceneSample:
        """A sample of a bag as the network takes it."""
        fits = [self._fit(view.frame.camera) for view in sample.views]
        views = [prepare_view(v.frame, fit) for v, fit in zip(sample.views, fits, strict=True)]
        layers = sample.labels
        truth = layers.get(VOXELS)
        out = VLSceneSample(
            left=views[0].image,
            right=views[1].image,
            geometry=pair_geometry(*views),
            truth=None if truth is None else voxel_target(truth, self.config.grid, self._labels),
            teacher=stored_teacher(layers.get(FEATURES), layers.get(LOGITS)),
            class_image=_fitted_classes(layers.get(CLASSES), fits[0]),
            name=f"{sample.scene} at {sample.stamp_ns}",
        )
        points = layers.get(POINTS)
        return out if points is None else self._with_lidar(out, points, fits)

    def _with_lidar(
        self, sample: VLSceneSample, points: Points, fits: Sequence[ImageFit]
    ) -> VLSceneSample:
        size = self.config.input_size
        T = torch.from_numpy(points.T_base_sensor).float()
        xyz = torch.from_numpy(np.ascontiguousarray(points.xyz)).float() @ T[:3, :3].T + T[:3, 3]
        raw = torch.from_numpy(points.columns["label"].astype(np.int64))
        seen = [
            see_points(
                xyz,
                torch.from_numpy(fits[0].camera.T_base_cam).float(),  # P has the baseline
                torch.from_numpy(fit.camera.P).float(),
                torch.from_numpy(fit.image_transform).float(),
                size,
            )
            for fit in fits
        ]
        view = seen[1 if self.config.published_slips else 0]
        targets = point_targets(xyz, self._class_table[raw], view, size)
        bins = depth_bin_targets(depth_image(seen[0], size)[None], self.config)[0]
        return sample._replace(
            depth_bins=bins,
            points=PointQueries(targets.points[:, :3].contiguous(), targets.uvd),
            point_labels=targets.points[:, 3].long(),
        )

    def _fit(self, camera: Camera) -> ImageFit:
        matrices = (camera.P.tobytes(), camera.T_base_cam.tobytes())
        key = (camera.name, camera.width, camera.height, *matrices)
        if key not in self._fits:
            self._fits[key] = choose_fit(camera, self._fit_kind, self.config.input_size)
        return self._fits[key]


def stereo_topics(bags: Sequence[Bags | Path], topics: VLSceneTopics) -> tuple[str, str]:
    """Image topics of the pair, found in the first bag unless they are named.

    Raises:
        BagError: The bag has no single stereo pair.
        ConfigError: Only one of the two is named, or there is no bag.
    """
    if bool(topics.left) != bool(topics.right) or not bags:
        raise ConfigError("name both image topics or none, and at least one bag")
    if topics.left:
        return topics.left, topics.right
    first = bags[0]
    with BagReader(first.recording if isinstance(first, Bags) else first) as bag:
        stereo = find_stereo(bag)
    return stereo.left_image, stereo.right_image


def class_topic(image: str) -> str:
    """Topic of the true classes of a camera's pixels in bags of the procedural world."""
    folder = image.removesuffix("/compressed").rsplit("/", 1)[0]
    return f"/ground_truth{folder}/semantic/compressed"


def voxel_target(voxels: Voxels, grid: GridSpec, labels: LabelMap) -> UInt8[Tensor, "x y z"]:
    """Class per voxel, 255 where it is not known.

    Raises:
        BagError: Another grid, another label map, or ids that it does not have.
    """
    if voxels.labels is None or voxels.label_map != labels.name:
        raise BagError(f"voxels of '{voxels.label_map}' are no labels of '{labels.name}'")
    numbers = (*voxels.grid.origin_m, *voxels.grid.voxel_size_m)
    same = np.allclose(numbers, (*grid.origin_m, *grid.voxel_size_m), atol=1e-3)
    if not same or voxels.grid.shape != grid.shape:
        raise BagError(f"the voxels are on another grid ({voxels.grid}) than the network ({grid})")
    if not np.allclose(voxels.T_base_grid, np.eye(4), atol=1e-3):
        raise BagError(
            f"the voxels are in '{voxels.grid.frame_id}', not where '{grid.frame_id}' is"
        )
    target = voxels.labels.copy()
    target[target == labels.unknown_id] = IGNORE
    if voxels.known is not None:
        target[~voxels.known] = IGNORE
    strangers = np.setdiff1d(np.unique(target), [*labels.ids, IGNORE])
    if strangers.size:
        raise BagError(f"voxel ids {strangers.tolist()} are not in the label map '{labels.name}'")
    return torch.from_numpy(target)


def stored_teacher(features: LabelImage | None, logits: LabelImage | None) -> TeacherTargets | None:
    """The teacher's answer from label layers `[H, W, C]`."""
    if features is None or logits is None:
        return None
    maps = (torch.from_numpy(m.values.astype(np.float32)) for m in (features, logits))
    return TeacherTargets(*(m.permute(2, 0, 1).contiguous() for m in maps))


def _fitted_classes(layer: LabelImage | None, fit: ImageFit) -> UInt8[Tensor, "h w"] | None:
    """The class image brought to the network's size as the image is, but never mixed."""
    if layer is None:
        return None
    height, width = fit.size
    to_network = fit.source_transform[:2].astype(np.float64)
    fitted = cv2.warpAffine(
        layer.values.astype(np.uint8), to_network, (width, height),
        flags=cv2.INTER_NEAREST, borderValue=IGNORE,
    )  # fmt: skip
    return torch.from_numpy(fitted)
