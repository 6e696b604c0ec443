"""The images of a recording, one by one, with everything a teacher may want to know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from occ_perception.bags.cameras import BagCamera, cameras_of_bag
from occ_perception.bags.images import decode_rgb
from occ_perception.bags.index import MessageStore, TopicIndex, open_index
from occ_perception.bags.messages import MessageTypes
from occ_perception.bags.points import columns_of, find_cloud
from occ_perception.bags.transforms import TransformTable
from occ_perception.core.errors import BagError, ImageError
from occ_perception.geometry.transforms import Matrix
from occ_training.data.samples import Points

SAME_INSTANT_NS = 60_000_000  # a camera of nuScenes exposes up to 43 ms before the scan
_MAX_POSE_GAP_NS = 700_000_000  # key frames come every half second


@dataclass(frozen=True, eq=False)
class BagImage:
    """One image.

    Attributes:
        camera: Its calibration and topic.
        stamp_ns: Stamp.
        rgb: `[H, W, 3]` uint8.
    """

    camera: BagCamera
    stamp_ns: int
    rgb: npt.NDArray[np.uint8]


class BagImages:
    """Images of a recording in the order of their stamps.

    Args:
        bag: The recording.
        cameras: Image topics; empty = every camera with rectified images.
        beside: Only images with a message of this topic at the same instant; empty = all images.

    Raises:
        BagError: The bag, or a topic of it, cannot be used.
    """

    def __init__(self, bag: Path, cameras: Sequence[str] = (), beside: str = "") -> None:
        self.name = bag.name
        self._index = open_index(bag)
        self._store, self._types = MessageStore(self._index.files), MessageTypes()
        found = cameras_of_bag(self._index, self._store)
        names = cameras or [n for n, c in found.items() if c.is_calibrated and c.is_rectified]
        unknown = [name for name in names if name not in found]
        if unknown or not names:
            raise BagError(
                f"bag {bag} has no rectified camera {', '.join(unknown)}; it has: "
                f"{', '.join(found) or 'no images with a camera_info'}"
            )
        self.cameras = {name: found[name] for name in names}
        partner = self._topic(beside) if beside else None
        entries = [
            (int(stamp_ns), name, row)
            for name in names
            for row, stamp_ns in enumerate(self._index.topics[name].stamps_ns)
            if partner is None or partner.nearest(int(stamp_ns), SAME_INSTANT_NS) is not None
        ]
        self._entries = sorted(entries)
        self._transforms: TransformTable | None = None

    @property
    def stamps_ns(self) -> list[int]:
        """Stamps of all images of all cameras."""
        return [entry[0] for entry in self._entries]

    @property
    def instants(self) -> int:
        """Images of the camera that has most of them."""
        names = [name for _, name, _ in self._entries]
        return max((names.count(name) for name in self.cameras), default=0)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, number: int) -> BagImage:
        """An image.

        Raises:
            ImageError: It is damaged, or has another size than its calibration.
        """
        stamp_ns, name, row = self._entries[number]
        camera, rgb = self.cameras[name], decode_rgb(self._message(self._topic(name), row))
        if rgb.shape[:2] != (camera.height, camera.width):
            raise ImageError(f"the image on {name} at {stamp_ns} does not fit its calibration")
        return BagImage(camera, stamp_ns, rgb)

    def message(self, topic: str, stamp_ns: int, within_ns: int = 0) -> Any:
        """The message of a topic at an instant.

        Raises:
            BagError: There is none.
        """
        row = self._topic(topic).nearest(stamp_ns, within_ns)
        if row is None:
            raise BagError(f"bag {self.name} has nothing on {topic} at {stamp_ns}")
        return self._message(self._topic(topic), row)

    def text(self, topic: str) -> str:
        """The text of a latched topic."""
        return self._message(self._topic(topic), 0).data

    def has(self, topic: str) -> bool:
        """Whether there is such a topic with messages."""
        return topic in self._index.topics and len(self._index.topics[topic]) > 0

    def cloud_topic(self) -> str:
        """The only topic of LiDAR points.

        Raises:
            BagError: There is none, or there are several.
        """
        return find_cloud(self._index)

    def scan(self, topic: str, stamp_ns: int, base_frame: str, world_frame: str) -> Points:
        """The LiDAR scan at an instant, with its pose.

        Raises:
            BagError: There is none, or no pose.
        """
        message = self.message(topic, stamp_ns, SAME_INSTANT_NS)
        at_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        T_base = self.transforms.fixed(base_frame, message.header.frame_id.lstrip("/"))
        return Points(columns_of(message), at_ns, T_base, self.pose(at_ns, base_frame, world_frame))

    def pose(self, stamp_ns: int, base_frame: str, world_frame: str) -> Matrix:
        """Pose of the base in the world."""
        return self.transforms.at(world_frame, base_frame, stamp_ns, _MAX_POSE_GAP_NS)

    @property
    def transforms(self) -> TransformTable:
        """All transforms of the recording."""
        if self._transforms is None:
            self._transforms = TransformTable.of_bag(self._index, self._store)
        return self._transforms

    def _topic(self, name: str) -> TopicIndex:
        if name not in self._index.topics:
            raise BagError(f"bag {self.name} has no topic {name}")
        return self._index.topics[name]

    def _message(self, topic: TopicIndex, row: int) -> Any:
        return self._types.decode(topic.msgtype, self._store.read(topic.place(row)))
