"""GaussianFlowOcc's training samples: a chain of key frames, and labelled pictures around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from occ_perception.blocks.surround_input import (
    ImageFit,
    apply_fit,
    fit_image,
    normalise,
)
from occ_perception.core.errors import BagError, ConfigError
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig
from occ_training.data.bag_scene import Bags
from occ_training.data.beam_sight import BeamSight, BeamSightSpec, SightVoxels
from occ_training.data.painted import CLASSES, DEPTH, LIDAR
from occ_training.data.splat_targets import (
    PixelLabels,
    draw_steps,
    fit_labels,
    rendering_cameras,
)
from occ_training.data.surround import SurroundDrive
from occ_training.data.surround_dataset import SurroundDataset
from occ_training.labels.answers import depth_of_layer

_SIGHT = ("sight_voxels", "sight_classes", "sight_free", "sight_weights")


@dataclass(frozen=True)
class SplatTopics:
    """Where in the bags things are; `{camera}` is a camera's name in small letters.

    Attributes:
        classes: Label layer with a class of Occ3D per pixel, 0 = none.
        depth: Label layer with the depth of every pixel, 0 = none.
        reference: Topic whose stamps are those of the vehicle frames; empty = the first camera's.
        world_frame: Frame in which the vehicle moves.
        points: LiDAR points, which beams and a flat start need; empty = there are none.
    """

    classes: str = "/labels/{camera}/masks"
    depth: str = "/labels/{camera}/depth"
    reference: str = "/lidar_top/points"
    world_frame: str = "map"
    points: str = "/lidar_top/points"


@dataclass(frozen=True)
class SplatTargets:
    """Which pictures are compared with labels, and how large.

    Attributes:
        size: Height and width of the rendered pictures, pixels.
        neighbours: Neighbouring key frames per sample, drawn from the configuration's horizon.
        cameras: Cameras per key frame, drawn anew for each; 0 = all.
        furthest_m: Depth from which on there are no labels.
        sight: Voxels that LiDAR beams tell of, at the same key frames; None = not asked for.
    """

    size: tuple[int, int] = (256, 704)
    neighbours: int = 6
    cameras: int = 0
    furthest_m: float = 40.0
    sight: BeamSightSpec | None = None


class SplatSample(NamedTuple):
    """One key frame with its past and what was seen around it.

    Attributes:
        images: Normalised images of the past key frames, oldest first, and of the current one.
        poses: Cameras in the vehicle frame of their key frame, metres.
        K: Intrinsics of the images as they came, pixels.
        fits: Their pixels to those of the network's images.
        motions: Vehicle frame of each key frame but the last in that of the one after it.
        steps: Offset indices of the rendered key frames, the current one last.
        T_cam_ego: Current vehicle frame in the rendered cameras.
        intrinsics: Intrinsics of the rendered pictures, pixels.
        classes: Class ids of the rendered pictures, 0 = none.
        depth_m: Their depth, 0 = none.
        sight_voxels: Voxels of which something is known at the rendered key frames, -1 = nothing.
        sight_classes: Class ids of what is in them, 0 = none.
        sight_free: Which of them are free.
        sight_weights: What they count.
        name: Drive and stamp, for messages.
    """

    images: Float[Tensor, "t n 3 h w"]
    poses: Float[Tensor, "t n 4 4"]
    K: Float[Tensor, "n 3 3"]
    fits: Float[Tensor, "n 3 3"]
    motions: Float[Tensor, "p 4 4"]
    steps: Int[Tensor, " s"]
    T_cam_ego: Float[Tensor, "s c 4 4"]
    intrinsics: Float[Tensor, "s c 3 3"]
    classes: Int[Tensor, "s c ph pw"]
    depth_m: Float[Tensor, "s c ph pw"]
    sight_voxels: Int[Tensor, "s n"]
    sight_classes: Int[Tensor, "s n"]
    sight_free: Bool[Tensor, "s n"]
    sight_weights: Float[Tensor, "s n"]
    name: str = ""


class SplatDataset(SurroundDataset[SplatSample]):
    """Samples of bags as GaussianFlowOcc learns from them.

    Args:
        bags: Drives with their label layers.
        config: Sizes of the network.
        targets: What is rendered.
        topics: Where in the bags things are.
        augments: Resize, crop and turn images at random.
        keeps: Keep decoded images and labels in memory.
        seed: Of everything random.

    Attributes:
        source: The key frames.
    """

    def __init__(
        self,
        bags: Sequence[Bags | Path],
        config: GaussianFlowOccConfig,
        targets: SplatTargets | None = None,
        topics: SplatTopics | None = None,
        *,
        augments: bool = True,
        keeps: bool = False,
        seed: int = 0,
    ) -> None:
        topics, self.config = topics or SplatTopics(), config
        self.targets = targets or SplatTargets()
        sight = self.targets.sight
        if sight and not topics.points:
            raise ConfigError("voxels that beams tell of need LiDAR points: name their topic")
        super().__init__(
            bags, config, topics, {CLASSES: topics.classes, DEPTH: topics.depth},
            {LIDAR: topics.points} if topics.points else {},
            augments=augments, flips=False, keeps=keeps, seed=seed,
        )  # fmt: skip
        grid, ids = config.grid_below_roof, config.dynamic_ids
        self._beams = BeamSight(sight, grid, ids) if sight else None

    def sample(self, drive: SurroundDrive, key: int, random: np.random.RandomState) -> SplatSample:
        """One sample.

        Raises:
            OccError: A message is damaged.
        """
        chain = [*drive.past(key, self.config.past_frames), key]
        fits = self.fits(drive.sizes(key), random)
        egos = [drive.T_world_ego(k) for k in chain]
        to_later = zip(egos[1:], egos[:-1], strict=True)
        return SplatSample(
            images=torch.stack([network_images(drive, k, fits) for k in chain]),
            poses=torch.from_numpy(np.stack([vehicle_poses(drive, k, k) for k in chain])),
            K=torch.from_numpy(drive.K(key)),
            fits=torch.from_numpy(np.stack([fit.matrix() for fit in fits])),
            # Composed in double precision: map coordinates are kilometres.
            motions=stacked([np.linalg.inv(later) @ before for later, before in to_later]),
            **self._pictures(drive, key, random),
            name=f"{drive.name} at {drive.stamp_ns(key)}",
        )

    def _pictures(
        self, drive: SurroundDrive, key: int, random: np.random.RandomState
    ) -> dict[str, Tensor]:
        """What is rendered: key frames, cameras, labels."""
        horizon, count = self.config.horizon, len(self.config.cameras)
        around = drive.neighbours(key, range(-horizon, horizon + 1))
        steps = draw_steps([k is not None for k in around], self.targets.neighbours, random)
        drawn = self.targets.cameras or count
        chosen = [sorted(random.permutation(count)[:drawn]) for _ in steps]
        views = [
            self._picture(drive, around[step], key, camera)
            for step, cameras in zip(steps, chosen, strict=True)
            for camera in cameras
        ]
        parts = (
            torch.stack(part).unflatten(0, (len(steps), drawn)) for part in zip(*views, strict=True)
        )
        names = ("T_cam_ego", "intrinsics", "classes", "depth_m")
        seen = [self._sight(drive, around[step], key, random) for step in steps]
        sight = (torch.stack(part) for part in zip(*seen, strict=True))
        return {
            "steps": torch.tensor(steps),
            **dict(zip(names, parts, strict=True)),
            **dict(zip(_SIGHT, sight, strict=True)),
        }

    def _sight(
        self, drive: SurroundDrive, then: int, now: int, random: np.random.RandomState
    ) -> SightVoxels:
        """What is known of voxels of one key frame, in the frame of another."""
        if self._beams is None:
            return SightVoxels.none()
        return self._beams.draw(drive, then, now, random)

    def _picture(
        self, drive: SurroundDrive, then: int, now: int, camera: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pose, intrinsics and labels of one camera of a key frame."""
        fit = fit_image(*drive.sizes(then)[camera], self.targets.size)
        K, T = drive.K(then)[camera], vehicle_poses(drive, then, now)[camera]
        seen = rendering_cameras([K], [T], fit.resize, fit.crop[1], self.targets.size)
        labels = self._labels(drive, then, camera, fit)
        return seen.T_cam_world[0], seen.K[0], *labels

    def _labels(self, drive: SurroundDrive, key: int, camera: int, fit: ImageFit) -> PixelLabels:
        classes = torch.from_numpy(drive.maps(CLASSES, key)[camera].astype(np.int64))
        depth_m = torch.from_numpy(depth_of_layer(drive.maps(DEPTH, key)[camera]))
        width, height = drive.sizes(key)[camera]
        scale = classes.shape[1] / width  # layers may be kept smaller than the images
        is_fitting = abs(classes.shape[0] - scale * height) <= 1
        if classes.shape != depth_m.shape or not is_fitting:
            raise BagError(
                f"bag {drive.name}: classes {tuple(classes.shape)} and depth "
                f"{tuple(depth_m.shape)} do not fit the images, {(height, width)}: name the layers "
                "that were made of this recording"
            )
        if int(classes.max()) > self.config.classes:
            raise BagError(
                f"bag {drive.name}: class {int(classes.max())} in the label layer, the network has "
                f"{self.config.classes}: name a layer of Occ3D's classes"
            )
        far = self.targets.furthest_m
        labels = fit_labels(classes[None], depth_m[None], fit.resize / scale, fit.crop[1], far)
        if labels.classes.shape[1:] != self.targets.size:
            raise ConfigError(
                f"pictures of {self.targets.size} cannot be cut out of labels of "
                f"{(height, width)}: choose a size that is as wide for its height or wider"
            )
        return PixelLabels(*(part[0] for part in labels))


def network_images(
    drive: SurroundDrive, key: int, fits: Sequence[ImageFit]
) -> Float[Tensor, "n 3 h w"]:
    """The network's images of a key frame."""
    pairs = zip(drive.views(key), fits, strict=True)
    return torch.stack([normalise(apply_fit(view.frame.image, fit)) for view, fit in pairs])


def vehicle_poses(drive: SurroundDrive, then: int, now: int) -> np.ndarray:
    """Poses `[n, 4, 4]` of the cameras of one key frame in the vehicle frame of another."""
    return np.linalg.inv(drive.T_world_ego(now)) @ drive.T_world_cam(then)


def stacked(matrices: Sequence[np.ndarray]) -> Float[Tensor, "p 4 4"]:
    """Matrices in single precision; there may be none."""
    return torch.from_numpy(np.stack(matrices) if matrices else np.zeros((0, 4, 4))).float()
