"""The frame sets of a bag as a system wants them: its cameras' images, placed in its grid frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from torch import Tensor

from occ_perception.bags.cameras import BagCamera, cameras_of_bag
from occ_perception.bags.images import decode_rgb
from occ_perception.bags.index import MessageStore, TopicIndex, open_index
from occ_perception.bags.messages import MessageTypes
from occ_perception.bags.points import columns_of, find_cloud
from occ_perception.bags.reader import BagReader
from occ_perception.bags.rigs import by_role, find_rig, named_rig, rig_in_bag
from occ_perception.bags.transforms import TransformTable
from occ_perception.core.camera import Camera
from occ_perception.core.errors import BagError, TransformError
from occ_perception.core.types import CameraFrame, FrameSet
from occ_perception.eval.rayiou import ray_origins
from occ_perception.geometry.transforms import Matrix, inverse
from occ_perception.systems.base import Needs

SAME_INSTANT_NS = 60_000_000  # cameras of nuScenes expose up to 43 ms before their key frame
_MAX_POSE_GAP_NS = 700_000_000  # key frames come every half second
WORLD_FRAMES = ("map", "odom")


@dataclass(frozen=True, eq=False)
class Scan:
    """One LiDAR scan.

    Attributes:
        points: `[n, 3]` metres in the scanner's frame.
        stamp_ns: Stamp.
        T_grid_lidar: Pose of the scanner in the grid frame.
    """

    points: npt.NDArray[np.float32]
    stamp_ns: int
    T_grid_lidar: Matrix


class BagFrames:
    """A bag's images for one system, by stamp.

    Args:
        bag: The bag.
        needs: Which cameras the system wants, and whether it wants the vehicle's motion.
        grid_frame: Frame in which the cameras' poses are wanted.
        topics: Image topics of the cameras, with or without /compressed; empty = found in the bag.

    Raises:
        OccError: Cameras are missing, without calibration or without a pose.
    """

    def __init__(
        self, bag: Path, needs: Needs, grid_frame: str, topics: Sequence[str] = ()
    ) -> None:
        self.bag, self._grid_frame = bag, grid_frame
        self._index = index = open_index(bag)
        self._store, self._types = MessageStore(index.files), MessageTypes()
        cameras = cameras_of_bag(index, self._store)
        names = find_images(bag, needs, topics)
        self._transforms = TransformTable.of_bag(index, self._store)
        self._world = self._fixed_frame() if needs.ego_motion else ""
        self._views: list[tuple[TopicIndex, Camera]] = []
        for role, name in zip(needs.cameras, names, strict=True):
            if name not in cameras:
                raise BagError(f"bag {bag}: {name} has no camera_info beside it, so no calibration")
            pose = self._transforms.fixed(grid_frame, cameras[name].frame_id)
            self._views.append((index.topics[name], _camera(role, cameras[name], pose)))

    @property
    def stamps_ns(self) -> list[int]:
        """Stamps of the first camera's images."""
        return self._views[0][0].stamps_ns.tolist()

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """Calibrations, placed in the grid frame."""
        return tuple(camera for _, camera in self._views)

    @property
    def image_topics(self) -> tuple[str, ...]:
        """Image topics of the cameras."""
        return tuple(topic.name for topic, _ in self._views)

    def at(self, stamp_ns: int) -> FrameSet | None:
        """The images of an instant; None if one of them, or the vehicle's pose, is missing.

        With the vehicle's motion known, every camera stands where it was when it exposed, seen
        from the grid frame at the asked stamp.
        """
        pose = self._pose(stamp_ns)
        if self._world and pose is None:
            return None
        frames = []
        for topic, camera in self._views:
            row = topic.nearest(stamp_ns, SAME_INSTANT_NS)
            if row is None:
                return None
            at_ns = int(topic.stamps_ns[row])
            moved = self._moved(camera, pose, at_ns)
            if moved is None:
                return None
            frames.append(CameraFrame(decode_rgb(self._message(topic, row)), moved, at_ns))
        return FrameSet(tuple(frames), stamp_ns, pose)

    def message(self, topic: str, stamp_ns: int, within_ns: int = SAME_INSTANT_NS) -> Any:
        """The message of a topic at an instant; None if there is none."""
        entry = self._index.topics.get(topic)
        row = None if entry is None else entry.nearest(stamp_ns, within_ns)
        return None if entry is None or row is None else self._message(entry, row)

    def stamps_of(self, topic: str) -> list[int]:
        """Stamps of a topic; none if the bag does not have it."""
        entry = self._index.topics.get(topic)
        return [] if entry is None else entry.stamps_ns.tolist()

    def cloud_topic(self) -> str:
        """The only topic of LiDAR points.

        Raises:
            BagError: There is none, or there are several.
        """
        return find_cloud(self._index)

    def scan(self, topic: str, stamp_ns: int) -> Scan | None:
        """The LiDAR scan at an instant; None if there is none."""
        message = self.message(topic, stamp_ns)
        if message is None:
            return None
        columns = columns_of(message)
        points = np.stack([columns[axis] for axis in "xyz"], axis=1)
        at_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        frame = message.header.frame_id.lstrip("/")
        return Scan(points, at_ns, self._transforms.fixed(self._grid_frame, frame))

    def T_world_grid(self, stamp_ns: int) -> Matrix:  # noqa: N802  (the name of the literature)
        """Pose of the grid frame in a fixed frame.

        Raises:
            OccError: The bag does not know it.
        """
        world = self._fixed_frame()
        return self._transforms.at(world, self._grid_frame, stamp_ns, _MAX_POSE_GAP_NS)

    def scanner_places(
        self, stamps_ns: Sequence[int], scanners: Sequence[str]
    ) -> Callable[[int], Float[Tensor, "n 3"]]:
        """Where rays start that judge voxels: the places of the scanner along the whole drive.

        Args:
            stamps_ns: Key frames of the drive.
            scanners: Possible names of its frame.

        Returns:
            From a stamp to places in the grid frame at that stamp, metres.

        Raises:
            BagError: The bag knows no scanner, or not how the vehicle moves.
        """
        known = [s for s in scanners if self._transforms.connects(self._grid_frame, s)]
        if not known:
            raise BagError(f"bag {self.bag} has none of the scanners {', '.join(scanners)}")
        world = self._fixed_frame()
        T_ego_lidar = self._transforms.fixed(self._grid_frame, known[0])

        def ego(stamp_ns: int) -> Matrix:
            return self._transforms.at(world, self._grid_frame, stamp_ns, _MAX_POSE_GAP_NS)

        scans = [ego(stamp_ns) @ T_ego_lidar for stamp_ns in stamps_ns]
        return lambda stamp_ns: ray_origins(scans, ego(stamp_ns), T_ego_lidar)

    def _moved(self, camera: Camera, pose: Matrix | None, at_ns: int) -> Camera | None:
        if pose is None:
            return camera
        then = self._pose(at_ns)
        if then is None:
            return None
        return replace(camera, T_base_cam=inverse(pose) @ then @ camera.T_base_cam)

    def _pose(self, stamp_ns: int) -> Matrix | None:
        if not self._world:
            return None
        try:
            return self._transforms.at(self._world, self._grid_frame, stamp_ns, _MAX_POSE_GAP_NS)
        except TransformError:
            return None

    def _fixed_frame(self) -> str:
        known = [f for f in WORLD_FRAMES if self._transforms.connects(f, self._grid_frame)]
        if not known:
            raise BagError(
                f"bag {self.bag} does not say how '{self._grid_frame}' moves in any of "
                f"{', '.join(WORLD_FRAMES)}, which this system has to know: record /tf"
            )
        return known[0]

    def _message(self, topic: TopicIndex, row: int) -> Any:
        return self._types.decode(topic.msgtype, self._store.read(topic.place(row)))


def find_images(bag: Path, needs: Needs, topics: Sequence[str] = ()) -> tuple[str, ...]:
    """Image topics of the cameras that a system wants, as they are called in the bag.

    Args:
        bag: The bag.
        needs: Which cameras.
        topics: Their names; empty = look for them.

    Raises:
        BagError: A camera is missing or not clear.
        ConfigError: Fewer or more are named than wanted.
    """
    roles = needs.cameras
    named = named_rig(by_role(roles, topics), {}) if topics else None
    with BagReader(bag) as reader:
        rig = find_rig(reader, roles) if named is None else rig_in_bag(reader, named)
    return tuple(rig.images[role] for role in roles)


def _camera(name: str, source: BagCamera, pose: npt.NDArray[np.float64]) -> Camera:
    distortion = () if source.is_rectified else source.D
    return Camera(name, source.P, source.width, source.height, pose, distortion)
