"""Key frames with cameras all around as samples of a training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from torch.utils.data import Dataset

from occ_perception.blocks.surround_input import ImageFit, draw_fit, fit_image
from occ_training.data.bag_scene import Bags
from occ_training.data.surround import SurroundDrive, SurroundDrives, SurroundSpec

Sample = TypeVar("Sample", covariant=True)


class SurroundNetwork(Protocol):
    """What a network's configuration says of its input."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras."""

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the images, pixels."""

    @property
    def frame_id(self) -> str:
        """Frame of the vehicle."""


class VehicleTopics(Protocol):
    """Where in the bags the vehicle is."""

    @property
    def reference(self) -> str:
        """Topic whose stamps are those of the vehicle frames; empty = the first camera's."""

    @property
    def world_frame(self) -> str:
        """Frame in which the vehicle moves."""


class SurroundDataset(Dataset[Sample]):
    """Samples around key frames, with randomness of their own; systems say what one holds.

    Args:
        bags: Drives with their label layers.
        network: What is trained.
        topics: Where in the bags the vehicle is.
        maps: Topics of label layers with one image per camera, by name.
        layers: Topics of layers with one message per key frame, by name.
        augments: Fit images at random.
        flips: Mirror some of them then.
        keeps: Keep decoded images and labels in memory.
        seed: Of everything random.

    Attributes:
        source: The key frames.

    Raises:
        OccError: A drive cannot be used.
    """

    def __init__(
        self,
        bags: Sequence[Bags | Path],
        network: SurroundNetwork,
        topics: VehicleTopics,
        maps: Mapping[str, str],
        layers: Mapping[str, str] | None = None,
        *,
        augments: bool,
        flips: bool,
        keeps: bool = False,
        seed: int = 0,
    ) -> None:
        self._size, self._augments, self._flips = network.input_size, augments, flips
        spec = SurroundSpec(
            network.cameras,
            maps=maps,
            layers=layers or {},
            reference=topics.reference,
            base_frame=network.frame_id,
            world_frame=topics.world_frame,
            keeps=keeps,
        )
        self.source = SurroundDrives(bags, spec, seed)

    def __len__(self) -> int:
        return len(self.source)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of everything random."""
        self.source.set_epoch(epoch)

    def __getitem__(self, index: int) -> Sample:
        """One sample.

        Raises:
            OccError: A message is damaged, or does not fit the network.
        """
        return self.sample(*self.source.place_of(index), self.source.random(index))

    @abstractmethod
    def sample(self, drive: SurroundDrive, key: int, random: np.random.RandomState) -> Sample:
        """What a system learns from a key frame."""

    def fits(
        self, sizes: Sequence[tuple[int, int]], random: np.random.RandomState
    ) -> list[ImageFit]:
        """How images become the network's: one fit per camera, for its earlier images as well.

        Args:
            sizes: Width and height of every camera's images, pixels.
            random: Source of randomness.
        """
        if not self._augments:
            return [fit_image(*size, self._size) for size in sizes]
        return [draw_fit(*size, self._size, random, flips=self._flips) for size in sizes]
