"""The robot's motion for systems with a history: from TF, or from an odometry topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from occ_perception.core.errors import TransformError
from occ_perception.geometry.transforms import Matrix, transform
from occ_perception.ros.messages import stamp_ns
from occ_perception.ros.settings import FrameSettings
from occ_perception.sync.transforms_buffer import TransformBuffer

TOPIC = "odometry"
_START = "start of odometry"  # names of no frame of the robot: TF may say otherwise of these
_ROBOT = "odometry of the robot"


class Motion:
    """Answers where the grid's frame was in a fixed frame."""

    def __init__(
        self, frames: FrameSettings, buffer: TransformBuffer, warn: Callable[[str], None]
    ) -> None:
        """Start without poses.

        Args:
            frames: Names of frames; whether odometry is used.
            buffer: Transforms of TF.
            warn: Logs a sentence.
        """
        self.uses_odometry = bool(getattr(frames, "use_odometry", False))
        self._frames = frames
        self._tf = buffer
        self._warn = warn
        self._odometry = TransformBuffer()
        self._base = frames.base
        self._is_warned = False

    def take(self, odometry: Any) -> None:
        """Store a nav_msgs/Odometry."""
        p, q = odometry.pose.pose.position, odometry.pose.pose.orientation
        try:
            T = transform((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
            self._odometry.set(_START, _ROBOT, T, stamp_ns(odometry.header.stamp))
        except TransformError as error:
            self._warn(f"ignored a message on {TOPIC}: {error}")
        self._base = odometry.child_frame_id or self._frames.base

    def forget(self) -> None:
        """Begin anew after a jump in time."""
        self._odometry.clear_timed()

    def at(self, time_ns: int) -> Matrix | None:
        """Pose `[4, 4]` of the grid's frame in a fixed frame, metres; None where nobody knows."""
        try:
            return self._lookup(time_ns)
        except TransformError as error:
            if not self._is_warned:
                self._is_warned = True
                self._warn(
                    f"the robot's motion is not known ({error}): every set stands alone, without "
                    "history; publish it as TF from frames.world, or set frames.use_odometry and "
                    f"remap {TOPIC}"
                )
            return None

    def _lookup(self, time_ns: int) -> Matrix:
        frames, wait_s = self._frames, self._frames.tf_timeout_s
        if not self.uses_odometry:
            return self._tf.lookup(frames.world, frames.grid, time_ns, wait_s)
        T_start_base = self._odometry.lookup(_START, _ROBOT, time_ns, wait_s)
        if self._base == frames.grid:
            return T_start_base
        return T_start_base @ self._tf.lookup(self._base, frames.grid, time_ns, wait_s)
