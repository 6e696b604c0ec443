"""Bags as a torch data set: random access to samples, splits by scene, an order that resumes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from occ_perception.core.errors import BagError, ConfigError
from occ_training.data.bag_scene import Bags, BagScene, SampleSpec, open_scenes
from occ_training.data.samples import Sample

Transform = Callable[[Sample, np.random.Generator], Sample]


class BagDataset(Dataset[Sample]):
    """Samples of several drives; images are decoded when they are asked for.

    Files are opened in each worker anew, so both ways of starting workers are safe. With a
    transform, its random choices depend on seed, epoch and sample only, not on workers or order.

    Attributes:
        scenes: The drives.
        transform: Applied to each sample, e.g. `augment.Augmentation`.
    """

    def __init__(
        self,
        bags: Sequence[Bags | Path],
        spec: SampleSpec,
        *,
        transform: Transform | None = None,
        seed: int = 0,
    ) -> None:
        """Open the bags; their indices are made if this is the first time.

        Raises:
            BagError: A bag cannot be used, or no sample is whole.
        """
        drives = [each if isinstance(each, Bags) else Bags(Path(each)) for each in bags]
        self.scenes: list[BagScene] = open_scenes(drives, spec)
        self.transform = transform
        self._seed = seed
        # Shared memory: workers that stay for several epochs must hear of the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._ends = np.cumsum([len(scene) for scene in self.scenes])
        if not len(self):
            why = {s.name: s.dropped for s in self.scenes}
            raise BagError(f"no whole sample in {len(drives)} bags; dropped: {why}")

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def set_epoch(self, epoch: int) -> None:
        """Make the transform choose anew, in workers that are running, too."""
        self._epoch.fill_(epoch)

    def place_of(self, index: int) -> tuple[BagScene, int]:
        """Scene of a sample, and the row of its anchor image there.

        Raises:
            IndexError: There is no such sample.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        index %= len(self)
        number = int(np.searchsorted(self._ends, index, side="right"))
        scene = self.scenes[number]
        return scene, int(scene.anchors[index - (self._ends[number] - len(scene))])

    def __getitem__(self, index: int) -> Sample:
        """One sample.

        Raises:
            IndexError: There is no such sample.
            OccError: A message is damaged.
        """
        scene, row = self.place_of(index)
        sample = Sample(
            scene=scene.name,
            index=row,
            stamp_ns=scene.stamp_ns(row),
            views=scene.views(row),
            neighbours=scene.neighbours(row),
            labels=scene.labels(row),
        )
        if self.transform is None:
            return sample
        rng = np.random.default_rng((self._seed, int(self._epoch), index % len(self)))
        return self.transform(sample, rng)

    def close(self) -> None:
        """Close all files."""
        for scene in self.scenes:
            scene.close()


class ShuffledOrder(Sampler[int]):
    """Every sample once per epoch, in an order that seed and epoch decide.

    Attributes:
        start: Samples of this epoch that are left out because they were seen before a restart.
    """

    def __init__(self, length: int, seed: int = 0, *, rank: int = 0, ranks: int = 1) -> None:
        """Order `length` samples; with several ranks each gets its own share of equal size."""
        self._length = length
        self._seed = seed
        self._rank, self._ranks = rank, ranks
        self._epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch and how far into it to begin."""
        self._epoch, self.start = epoch, start

    def __len__(self) -> int:
        return self._length // self._ranks - self.start

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self._seed, self._epoch)).permutation(self._length)
        share = order[self._rank :: self._ranks][: self._length // self._ranks]
        return iter(share[self.start :].tolist())


def single_threaded(worker: int) -> None:
    """`worker_init_fn` of a DataLoader: decoders must not start threads in every worker."""
    cv2.setNumThreads(0)


def bags_of_split(folder: Path, split: str, layers: Sequence[Path] = ()) -> list[Bags]:
    """The converted bags of a published split, with the label layers of the same names.

    Args:
        folder: Output of `occ convert`, with its inventory.
        split: "train", "val" or "test"; "all" = every bag.
        layers: Folders with label layers, one bag per scene and named like it.

    Raises:
        BagError: No inventory, or no bag of this split.
    """
    path = folder / "inventory.json"
    try:
        scenes = json.loads(path.read_text("utf-8"))["scenes"]
    except (OSError, ValueError, KeyError) as error:
        raise BagError(f"{path} cannot be read: give a folder that `occ convert` wrote") from error
    names = [
        name
        for name, entry in scenes.items()
        if not entry["failed"] and split in ("all", entry["split"])
    ]
    if not names:
        raise BagError(f"{folder} has no bag of the split '{split}'")
    return [Bags(folder / name, tuple(layer / name for layer in layers)) for name in names]


def split_scenes(names: Sequence[str], validation: float, seed: int) -> tuple[list[str], list[str]]:
    """Divide scenes, never frames, into training and validation.

    Args:
        names: Of the scenes.
        validation: Share of the scenes that are held back, at least one.
        seed: Decides which.

    Raises:
        ConfigError: The share leaves nothing to train on.
    """
    held = max(1, round(validation * len(names)))
    if not 0 < validation < 1 or held >= len(names):
        raise ConfigError(f"a share of {validation} of {len(names)} scenes cannot be held back")
    order = np.random.default_rng(seed).permutation(len(names))
    chosen = {names[i] for i in order[:held]}
    return [n for n in names if n not in chosen], [n for n in names if n in chosen]
