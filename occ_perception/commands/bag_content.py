"""What pictures need out of bags: voxels, grids, label maps and images, by stamp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from occ_perception.bags.reader import BagReader
from occ_perception.bags.rigs import RigTopics
from occ_perception.bags.topics import TopicKind
from occ_perception.core.errors import BagError
from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import LabelMap, load_label_map
from occ_perception.ros.images import decode
from occ_perception.viz.surround_pictures import GaussianScene

VOXELS = "occ_msgs/msg/VoxelGrid"
LABEL_MAP = "occ_msgs/msg/LabelMap"
GAUSSIANS = "occ_msgs/msg/SemanticGaussians"
SAME_MOMENT_NS = 60_000_000
OCCUPANCY = "nav_msgs/msg/OccupancyGrid"


@dataclass(frozen=True, eq=False)
class Voxels:
    """A VoxelGrid message.

    Attributes:
        labels: `[X, Y, Z]` uint8; what is not known has the map's unknown id.
        grid: Where the voxels are.
        label_map: Meaning of the ids.
        stamp_ns: Stamp of the image that it answers.
    """

    labels: npt.NDArray[np.uint8]
    grid: GridSpec
    label_map: LabelMap
    stamp_ns: int

    @property
    def occupied(self) -> npt.NDArray[np.bool_]:
        """`[X, Y, Z]`: seen, and not free."""
        return ~np.isin(self.labels, (self.label_map.free_id, self.label_map.unknown_id))


@dataclass(frozen=True, eq=False)
class Occupancy:
    """An OccupancyGrid message.

    Attributes:
        cells: `[rows, columns]` int8: rows along y, columns along x.
        resolution_m: Edge length of a cell.
        origin_m: Lower corner in the frame.
        frame_id: The frame.
    """

    cells: npt.NDArray[np.int8]
    resolution_m: float
    origin_m: tuple[float, float]
    frame_id: str


def voxel_topic(bag: BagReader, *, truth: bool) -> str | None:
    """Topic with the grids of a node, or with ground truth; None if there is none."""
    names = [t.name for t in bag.topics.values() if t.kind is TopicKind.VOXELS and t.count]
    return next((name for name in names if ("/ground_truth/" in name) == truth), None)


def stamps(bag: BagReader, topic: str) -> list[int]:
    """Header stamps of a topic, in the order of the bag."""
    return [s for m in bag.messages([topic]) if (s := bag.stamp_ns(m)) is not None]


def nearest_stamp(bag: BagReader, topic: str, stamp_ns: int) -> int | None:
    """The stamp of a topic that is nearest to another one, if it can be of the same moment.

    Key frames of a surround rig are stamped by the scanner, its images by their exposures.
    """
    found = min(stamps(bag, topic), key=lambda s: abs(s - stamp_ns), default=None)
    return found if found is not None and abs(found - stamp_ns) <= SAME_MOMENT_NS else None


def message_at(bag: BagReader, topic: str, stamp_ns: int) -> object | None:
    """The decoded message with exactly this header stamp."""
    for message in bag.messages([topic]):
        if bag.stamp_ns(message) == stamp_ns:
            return bag.decode(message)
    return None


def read_voxels(bag: BagReader, topic: str, stamp_ns: int) -> Voxels | None:
    """The voxel grid of a stamp.

    Raises:
        BagError: Its array has another size than it says.
    """
    message = message_at(bag, topic, stamp_ns)
    if message is None:
        return None
    shape = (message.size_x, message.size_y, message.size_z)
    if message.labels.size != np.prod(shape):
        raise BagError(
            f"a grid on {topic} has {message.labels.size} labels for {shape}; was it cut off?"
        )
    label_map = read_label_map(bag, message.label_map)
    labels = np.array(message.labels, np.uint8).reshape(shape)
    if message.known.size:
        labels[message.known.reshape(shape) == 0] = label_map.unknown_id
    corner = message.origin.position
    size_m = round(float(message.resolution), 6)  # float32 on the wire
    origin_m = (corner.x, corner.y, corner.z)
    grid = GridSpec(origin_m, (size_m,) * 3, shape, message.header.frame_id)
    return Voxels(labels, grid, label_map, stamp_ns)


def read_label_map(bag: BagReader, name: str) -> LabelMap:
    """The label map of a name: from the bag, else one of the shipped ones.

    Raises:
        ConfigError: It is in neither of them.
    """
    topics = [t.name for t in bag.topics.values() if t.msgtype == LABEL_MAP]
    for message in map(bag.decode, bag.messages(topics) if topics else ()):
        if message.name == name:
            return LabelMap(
                name=name,
                ids=tuple(message.ids.tolist()),
                names=tuple(message.names),
                colors_rgb=tuple(map(tuple, message.colors_rgb.reshape(-1, 3).tolist())),
                free_id=message.free_id,
                unknown_id=message.unknown_id,
                blocking_ids=tuple(message.blocking_ids.tolist()),
            )
    return load_label_map(name)


def read_occupancy(bag: BagReader, stamp_ns: int) -> Occupancy | None:
    """The occupancy grid of a stamp; None if the bag has none."""
    for topic in (t.name for t in bag.topics.values() if t.msgtype == OCCUPANCY):
        message = message_at(bag, topic, stamp_ns)
        if message is not None:
            info = message.info
            cells = np.asarray(message.data, np.int8).reshape(info.height, info.width)
            origin_m = (info.origin.position.x, info.origin.position.y)
            resolution_m = round(float(info.resolution), 6)
            return Occupancy(cells, resolution_m, origin_m, message.header.frame_id)
    return None


def read_images(bag: BagReader, rig: RigTopics, stamp_ns: int) -> dict[str, npt.NDArray[np.uint8]]:
    """Images by role, each the nearest to a stamp; a camera without any is left out."""
    images = {}
    for role, topic in rig.images.items():
        found = nearest_stamp(bag, topic, stamp_ns)
        message = None if found is None else message_at(bag, topic, found)
        if message is not None:
            images[role] = decode(message).rgb
    return images


def read_picture(bag: BagReader, topic: str, stamp_ns: int) -> npt.NDArray[np.generic] | None:
    """An image that a node painted: `[h, w]` float32 of a depth, else `[h, w, 3]` uint8."""
    message = message_at(bag, topic, stamp_ns) if topic in bag.topics else None
    if message is None:
        return None
    is_depth = message.encoding == "32FC1"
    values = np.frombuffer(message.data, np.float32 if is_depth else np.uint8)
    return values.reshape(message.height, message.width, *(() if is_depth else (3,)))


def read_gaussians(bag: BagReader, stamp_ns: int) -> tuple[GaussianScene, LabelMap] | None:
    """Gaussians of a stamp, and what their classes mean."""
    for topic in (t.name for t in bag.topics.values() if t.msgtype == GAUSSIANS):
        message = message_at(bag, topic, stamp_ns)
        if message is not None:
            count = message.opacities.size
            scene = GaussianScene(
                means=message.means.reshape(count, 3),
                scales=message.scales.reshape(count, 3),
                wxyz=message.rotations.reshape(count, 4),
                opacities=message.opacities,
                labels=message.labels,
                flow=message.flow.reshape(count, 3) if message.flow.size else None,
            )
            return scene, read_label_map(bag, message.label_map)
    return None


def similarity_of(grid: object) -> npt.NDArray[np.float32]:
    """Cosines `[X, Y, Z]` that an answer of ~/query_text carries, to 1/127."""
    scaled = np.frombuffer(grid.probability, np.uint8).astype(np.float32)
    return (scaled / 127 - 1).reshape(grid.size_x, grid.size_y, grid.size_z)
