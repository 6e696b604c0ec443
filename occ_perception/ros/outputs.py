"""Publishers of a node. Views are built only while somebody listens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.exceptions import InvalidHandle
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.qos import DurabilityPolicy, QoSProfile

from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import LabelMap
from occ_perception.ros import messages
from occ_perception.ros.settings import OutputSettings
from occ_perception.ros.volume import Volume

RELIABLE = QoSProfile(depth=5)  # a recorder that is late for one grid still gets it
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# Nobody may miss a report: the player waits for them.
_REPORTS = QoSProfile(depth=100)


@dataclass(frozen=True, eq=False)
class ViewPlan:
    """Settings of the views, resolved against grid and label map.

    Attributes:
        settings: As set.
        layers: Layers of the height band.
        blocking: `[256]`, does the id block a robot.
    """

    settings: OutputSettings
    layers: slice
    blocking: npt.NDArray[np.bool_]


def plan_views(settings: OutputSettings, grid: GridSpec, labels: LabelMap) -> ViewPlan:
    """Resolve the settings.

    Raises:
        ConfigError: The height band misses the grid or a class does not exist.
    """
    layers = grid.slab(settings.min_height_m, settings.max_height_m)
    return ViewPlan(settings, layers, settings.blocking_table(labels))


class Publishing:
    """Lifecycle publishers, silent until the node is active, that outlive a shutdown of ROS.

    Attributes:
        types: Message classes.
    """

    def __init__(self, node: Any) -> None:
        """Advertise nothing yet."""
        self.types = messages.ros_types()
        self._node = node
        self._made: list[Any] = []

    def advertise(self, kind: str, topic: str, qos: QoSProfile = RELIABLE) -> Any:
        """A publisher of messages of a class in `types`."""
        create = self._node.create_lifecycle_publisher
        self._made.append(create(getattr(self.types, kind), topic, qos))
        return self._made[-1]

    def destroy(self) -> None:
        """Withdraw all topics."""
        for publisher in self._made:
            self._node.destroy_publisher(publisher)

    def is_heard(self, publisher: Any) -> bool:
        """Whether somebody listens."""
        with self._until_shutdown():
            return bool(publisher.get_subscription_count() > 0)
        return False

    def publish(self, publisher: Any, message: Any) -> None:
        """Send a message."""
        with self._until_shutdown():
            publisher.publish(message)

    @contextmanager
    def _until_shutdown(self) -> Iterator[None]:
        """Pass over errors of ROS once it was shut down under the worker's hands."""
        try:
            yield
        except (InvalidHandle, rclpy_implementation.RCLError):
            if self._node.context.ok():
                raise


class Outputs(Publishing):
    """What every node publishes."""

    def __init__(self, node: Any) -> None:
        """Advertise all topics."""
        super().__init__(node)
        self._voxels = self.advertise("VoxelGrid", "~/voxels")
        self._grid = self.advertise("OccupancyGrid", "~/grid")
        self._points = self.advertise("PointCloud2", "~/points")
        self._markers = self.advertise("MarkerArray", "~/markers")
        self._label_map = self.advertise("LabelMap", "~/label_map", _LATCHED)
        self._latency = self.advertise("FrameLatency", "~/latency", _REPORTS)

    def publish_label_map(self, labels: LabelMap, time_ns: int) -> None:
        """Latch what the ids mean."""
        self.publish(self._label_map, messages.label_map(self.types, labels, time_ns))

    def publish_volume(self, volume: Volume, plan: ViewPlan) -> None:
        """Publish the voxels, and each view that somebody listens to."""
        types, wanted = self.types, plan.settings
        if wanted.voxels:
            self.publish(self._voxels, messages.voxel_grid(types, volume))
        if wanted.grid and self.is_heard(self._grid):
            grid = messages.occupancy_grid(types, volume, plan.layers, plan.blocking)
            self.publish(self._grid, grid)
        if wanted.points and self.is_heard(self._points):
            self.publish(self._points, messages.point_cloud(types, volume))
        if wanted.markers and self.is_heard(self._markers):
            cubes = messages.blocking_markers(types, volume, plan.blocking, wanted.max_markers)
            self.publish(self._markers, cubes)

    def publish_latency(
        self,
        time_ns: int,
        frame_id: str,
        reason: str,
        seconds: Mapping[str, float],
        counts: tuple[int, int, int],
    ) -> None:
        """Report what became of an anchor image."""
        report = messages.frame_latency(self.types, time_ns, frame_id, reason, seconds, counts)
        self.publish(self._latency, report)
