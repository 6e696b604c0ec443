"""The voxel grids of a bag, by stamp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from occ_perception.bags.index import BagIndex, MessageStore, open_index
from occ_perception.bags.messages import MessageTypes
from occ_perception.core.errors import BagError
from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import load_label_map
from occ_perception.eval.protocols import IGNORE

VOXELS = "occ_msgs/msg/VoxelGrid"

Labels = npt.NDArray[np.uint8]


class VoxelTopic:
    """The voxel grids of one topic of a bag, by stamp.

    Args:
        bag: The bag.
        topic: Name; empty = the only voxel topic with labels that is (not) truth.
        truth: Which of the two is looked for.

    Raises:
        BagError: There is no such topic.
    """

    def __init__(self, bag: Path, topic: str = "", *, truth: bool) -> None:
        self.bag = bag
        index = open_index(bag)
        self._store, self._types = MessageStore(index.files), MessageTypes()
        names = [
            name for name in _voxel_topics(index) if (name == topic if topic else
            ("/ground_truth/" in name) == truth and not name.endswith("_mask"))
        ]  # fmt: skip
        if len(names) != 1:
            kind = "voxel truth" if truth else "predicted voxels"
            raise BagError(f"bag {bag} has {len(names)} topics of {kind} ({names}), name one")
        self._topic = index.topics[names[0]]
        first = self._message(0)
        self.label_map = load_label_map(first.label_map) if first.label_map else None
        self.grid = _grid_of(first)

    @property
    def stamps_ns(self) -> list[int]:
        """Stamps in order."""
        return self._topic.stamps_ns.tolist()

    def at(self, stamp_ns: int, within_ns: int = 0) -> Labels | None:
        """The ids of a stamp, 255 where a truth is unknown; None if there are none."""
        row = self._topic.nearest(stamp_ns, within_ns)
        return None if row is None else self._volume(self._message(row), "labels", stamp_ns)

    def known_at(self, stamp_ns: int) -> npt.NDArray[np.bool_] | None:
        """Voxels that are known, as a mask says it; None if there is no message."""
        row = self._topic.nearest(stamp_ns, 0)
        if row is None:
            return None
        return self._volume(self._message(row), "known", stamp_ns).astype(np.bool_)

    def truth_at(self, stamp_ns: int) -> Labels | None:
        """The ids with everything that is not known as 255."""
        labels = self.at(stamp_ns)
        if labels is None:
            return None
        row = self._topic.nearest(stamp_ns, 0)
        known = self._message(row).known
        labels[labels == self.label_map.unknown_id] = IGNORE
        if known.size:
            labels[known.reshape(labels.shape) == 0] = IGNORE
        strangers = np.setdiff1d(labels, [*self.label_map.ids, IGNORE])
        if strangers.size:
            raise BagError(f"bag {self.bag}: ids {strangers.tolist()} at {stamp_ns} are no classes")
        return labels

    def _volume(self, message: Any, name: str, stamp_ns: int) -> Labels:
        values = getattr(message, name)
        if _grid_of(message) != self.grid or values.size != self.grid.count:
            raise BagError(f"bag {self.bag}: the grid on {self._topic.name} changes at {stamp_ns}")
        return np.array(values, np.uint8).reshape(self.grid.shape)

    def _message(self, row: int) -> Any:
        return self._types.decode(VOXELS, self._store.read(self._topic.place(row)))


def has_voxels(bag: Path) -> bool:
    """Whether a bag holds any voxel grid.

    Raises:
        BagError: It cannot be read.
    """
    return bool(_voxel_topics(open_index(bag)))


def _voxel_topics(index: BagIndex) -> list[str]:
    return [t.name for t in index.topics.values() if t.msgtype == VOXELS and len(t)]


def _grid_of(message: Any) -> GridSpec:
    corner, size_m = message.origin.position, round(float(message.resolution), 6)
    return GridSpec(
        (corner.x, corner.y, corner.z),
        (size_m,) * 3,
        (message.size_x, message.size_y, message.size_z),
        message.header.frame_id.lstrip("/"),
    )
