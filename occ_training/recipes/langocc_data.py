"""LangOcc's training samples: three key frames, and rays of many key frames with their words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from occ_perception.blocks.surround_input import (
    ImageFit,
    apply_fit,
    normalise,
    shrunk,
    shrunk_size,
)
from occ_perception.core.errors import BagError
from occ_perception.systems.langocc.config import LangOccConfig
from occ_perception.systems.langocc.geometry import SurroundGeometry
from occ_training.data.bag_scene import Bags
from occ_training.data.beam_sight import BeamSight, BeamSightSpec, SightVoxels
from occ_training.data.language_rays import LanguageRays, RayPixels, cast_pixels, draw_pixels
from occ_training.data.painted import DEPTH, LIDAR
from occ_training.data.surround import SurroundDrive
from occ_training.data.surround_dataset import SurroundDataset

RAYS, WORDS = "rays", "words"
_EARLIER = (-1, -2)  # key frames beside the current one; of the last only its match is used

Reduce = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LanguageTopics:
    """Where in the bags things are; `{camera}` is a camera's name in small letters.

    Attributes:
        rays: Label layer with row, column and LiDAR depth of pixels that LiDAR points fall on.
        words: Label layer with a text-image vector for each of them.
        reference: Topic whose stamps are those of the vehicle frames; empty = the first camera's.
        world_frame: Frame in which the vehicle moves.
        points: LiDAR points; only read where beams are asked.
        depth: Label layer with the depth of every pixel, 0 = none; only read where beams are asked.
    """

    rays: str = "/labels/{camera}/rays"
    words: str = "/labels/{camera}/language"
    reference: str = "/lidar_top/points"
    world_frame: str = "map"
    points: str = "/lidar_top/points"
    depth: str = "/labels/{camera}/depth"


@dataclass(frozen=True)
class RayTargets:
    """Which rays are rendered.

    Attributes:
        count: Rays per sample.
        horizon: Key frames before and after the current one whose pixels are looked at
            (paper, table 4).
        sight: Voxels that LiDAR beams tell of; None = not asked for, as published.
    """

    count: int = 8192
    horizon: int = 12
    sight: BeamSightSpec | None = None


class LangOccSample(NamedTuple):
    """Three key frames and the rays around the current one.

    Attributes:
        images: Normalised images, the current key frame first.
        geometry: Their cameras, a batch of one.
        rays: Rays in the current vehicle frame.
        targets: The teacher's vectors in the space of the network's voxels.
        weights: 1; 0 for rays that only fill the batch up.
        sight: Voxels of which beams tell whether something is there.
        name: Drive and stamp, for messages.
    """

    images: Float[Tensor, "f n 3 h w"]
    geometry: SurroundGeometry
    rays: LanguageRays
    targets: Float[Tensor, "r c"]
    weights: Float[Tensor, "r 1"]
    sight: SightVoxels
    name: str = ""


class LangOccDataset(SurroundDataset[LangOccSample]):
    """Samples of bags as LangOcc learns from them.

    Args:
        bags: Drives with their label layers.
        config: Sizes of the network.
        targets: Which rays.
        topics: Where in the bags things are.
        reduce: From the teacher's space to that of the network's voxels; None = it is the same.
        augments: Resize, crop, mirror and turn images, and mirror the vehicle's frame, at random.
        keeps: Keep the teacher's vectors in memory; for small worlds.
        seed: Of everything random.

    Attributes:
        source: The key frames.
    """

    def __init__(
        self,
        bags: Sequence[Bags | Path],
        config: LangOccConfig,
        targets: RayTargets | None = None,
        topics: LanguageTopics | None = None,
        *,
        reduce: Reduce | None = None,
        augments: bool = True,
        keeps: bool = False,
        seed: int = 0,
    ) -> None:
        topics, self.config = topics or LanguageTopics(), config
        self.targets = targets or RayTargets()
        sight = self.targets.sight
        super().__init__(
            bags, config, topics,
            {RAYS: topics.rays, WORDS: topics.words} | ({DEPTH: topics.depth} if sight else {}),
            {LIDAR: topics.points} if sight else {},
            augments=augments, flips=True, seed=seed,
        )  # fmt: skip
        self._beams = BeamSight(sight, config.grid) if sight else None
        self._reduce, self._turns = reduce, augments
        self._kept: dict[tuple[str, int], RayPixels] | None = {} if keeps else None

    def sample(
        self, drive: SurroundDrive, key: int, random: np.random.RandomState
    ) -> LangOccSample:
        """One sample.

        Raises:
            OccError: A message is damaged, or the vectors are of another space.
        """
        sizes = [shrunk_size(*size, self.config.source_width) for size in drive.sizes(key)]
        fits = self.fits(sizes, random)
        turn = self._turn(random)
        images, geometry = key_frames(drive, key, fits, turn, self.config.source_width)
        rays, chosen = self._rays(drive, key, turn, random)
        targets = chosen.targets.float()
        missing = self.targets.count - len(targets)
        return LangOccSample(
            images=images,
            geometry=geometry,
            rays=LanguageRays(*(F.pad(part, (0, 0, 0, missing), value=1.0) for part in rays)),
            targets=F.pad(targets, (0, 0, 0, missing)),
            weights=F.pad(torch.ones(len(targets), 1), (0, 0, 0, missing)),
            sight=self._sight(drive, key, turn, random),
            name=f"{drive.name} at {drive.stamp_ns(key)}",
        )

    def _turn(self, random: np.random.RandomState) -> Float[Tensor, "3 3"]:
        """Half of all samples are mirrored along x, half along y (specification 2.4)."""
        signs = 1 - 2 * random.randint(0, 2, 2) if self._turns else (1, 1)
        return torch.diag(torch.tensor([*map(float, signs), 1.0]))

    def _sight(
        self, drive: SurroundDrive, key: int, turn: Tensor, random: np.random.RandomState
    ) -> SightVoxels:
        """Voxels in the frame that is mirrored as the rays are."""
        if self._beams is None:
            return SightVoxels.none()
        seen, shape = self._beams.draw(drive, key, key, random), self.config.shape
        cells = np.unravel_index(seen.voxels.clamp(min=0).numpy(), shape)
        mirrored = [
            side - 1 - cell if sign < 0 else cell
            for cell, side, sign in zip(cells, shape, turn.diag().tolist(), strict=True)
        ]
        flat = torch.from_numpy(np.ravel_multi_index(mirrored, shape))
        return seen._replace(voxels=torch.where(seen.voxels < 0, -1, flat))

    def _rays(
        self, drive: SurroundDrive, key: int, turn: Tensor, random: np.random.RandomState
    ) -> tuple[LanguageRays, RayPixels]:
        """Some rays of all key frames around; where there is none, of the current one again."""
        horizon = self.targets.horizon
        around = drive.neighbours(key, range(-horizon, horizon + 1))
        keys = [key if found is None else found for found in around]
        seen = [self._seen(drive, one) for one in keys]
        frames = [torch.full_like(p.camera, number) for number, p in enumerate(seen)]
        pooled = [torch.cat(parts) for parts in zip(*(p[1:] for p in seen), strict=True)]
        chosen = draw_pixels(RayPixels(torch.cat(frames), *pooled), self.targets.count, random)
        ego = np.linalg.inv(drive.T_world_ego(key))
        poses = torch.from_numpy(np.stack([ego @ drive.T_world_cam(one) for one in keys]))
        return cast_pixels(chosen, torch.from_numpy(drive.K(key)), poses, turn), chosen

    def _seen(self, drive: SurroundDrive, key: int) -> RayPixels:
        """All pixels of a key frame with their vectors."""
        place = (drive.name, key)
        if self._kept is None or place not in self._kept:
            made = self._read(drive, key)
            if self._kept is None:
                return made
            self._kept[place] = made
        return self._kept[place]

    def _read(self, drive: SurroundDrive, key: int) -> RayPixels:
        pixels, words = drive.maps(RAYS, key), drive.maps(WORDS, key)
        counts = torch.tensor([p.shape[1] for p in pixels])
        if counts.tolist() != [w.shape[1] for w in words]:
            raise BagError(f"bag {drive.name}: the layers of rays and of vectors do not fit")
        at = torch.from_numpy(np.concatenate(pixels, axis=1)[0].astype(np.float32))
        vectors = torch.from_numpy(np.concatenate(words, axis=1)[0].astype(np.float32))
        width = vectors.shape[1]
        vectors = vectors if self._reduce is None else self._reduce(vectors)
        if vectors.shape[1] != self.config.language_channels:
            raise BagError(
                f"bag {drive.name}: the label layer has vectors of {width} values, the network is "
                f"for a CLIP of {self.config.clip_channels}: name another teacher's layer"
            )
        camera = torch.arange(len(counts)).repeat_interleave(counts)
        return RayPixels(camera, camera, at[:, :2], at[:, 2], vectors.half())


def key_frames(
    drive: SurroundDrive,
    key: int,
    fits: Sequence[ImageFit],
    turn: Float[Tensor, "3 3"],
    width: int | None = None,
) -> tuple[Float[Tensor, "f n 3 h w"], SurroundGeometry]:
    """Images and cameras of a key frame and the two before; missing ones are the current one.

    Args:
        drive: The drive.
        key: Number of the key frame.
        fits: How the images of each camera are fitted.
        turn: Mirroring of the vehicle's frame.
        width: Width to which wider images are shrunk before they are fitted.
    """
    earlier = (key if one is None else one for one in drive.neighbours(key, _EARLIER))
    frames = [drive.views(one) for one in (key, *earlier)]
    seen = [[shrunk(view.frame, width) for view in views] for views in frames]
    images = [
        torch.stack([normalise(apply_fit(frame.image, fit)) for frame, fit in pairs])
        for pairs in (zip(one, fits, strict=True) for one in seen)
    ]
    fit = np.stack([f.matrix() for f in fits])
    parts = (
        [[frame.camera.T_base_cam for frame in one] for one in seen],
        [[view.T_world_base for view in views] for views in frames],
        [[frame.camera.K for frame in one] for one in seen],
        [fit] * len(frames),
    )
    matrices = (torch.from_numpy(np.array(part))[None] for part in parts)
    return torch.stack(images), SurroundGeometry(*matrices, turn[None])
