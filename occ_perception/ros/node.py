"""The lifecycle node around any occupancy system."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from occ_perception.core.errors import OccError
from occ_perception.geometry.transforms import transform
from occ_perception.ros import compat, diagnostics, messages
from occ_perception.ros.loading import Loader
from occ_perception.ros.params import Parameters
from occ_perception.ros.pipeline import Pipeline, check_settings
from occ_perception.ros.settings import FrameSettings, NodeSettings
from occ_perception.ros.wall_timer import wall_timer
from occ_perception.runtime.warmup import warm_up

_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
_STOP_TIMEOUT_S = 10.0
_EXIT_TIMEOUT_S = 1.0

Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def _told(transition: Transition) -> Transition:
    """Log an unexpected exception of a transition: rclpy turns it into ERROR without a word."""

    @wraps(transition)
    def wrapped(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception as error:
            node.get_logger().error(
                f"unexpected {type(error).__name__} in {transition.__name__}: {error}\n"
                f"{traceback.format_exc()}"
            )
            raise

    return wrapped


class OccupancyNode(LifecycleNode):
    """Camera images in, voxels out."""

    def __init__(
        self,
        name: str,
        load: Loader,
        settings: type[NodeSettings] = NodeSettings,
        **options: Any,
    ) -> None:
        """Declare the parameters.

        Args:
            name: Name of the node.
            load: Builds the system from the settings.
            settings: What can be set.
            options: For rclpy's node.

        Raises:
            ConfigError: A parameter is unknown or refused.
        """
        super().__init__(name, **options)
        self._load = load
        self._types = messages.ros_types()
        self._params = Parameters(self, settings)
        self._pipeline: Pipeline | None = None
        self._static_frames: Any = None
        self._state = "unconfigured"
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        wall_timer(self, 1.0, self._publish_diagnostics)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.get_logger().info(compat.describe())

    @property
    def settings(self) -> NodeSettings:
        """The settings of the moment."""
        settings: NodeSettings = self._params.settings
        return settings

    def start(self) -> bool:
        """Configure and activate without a manager; False if that failed (the log says why)."""
        return self.trigger_configure() == _SUCCESS and self.trigger_activate() == _SUCCESS

    def close(self) -> bool:
        """Stop everything at once; False if a worker could not be stopped within its frame."""
        if self._pipeline is None:
            return True
        self._pipeline.deactivate(_EXIT_TIMEOUT_S)
        return not self._pipeline.is_busy

    @_told
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Build the system, load its weights, advertise."""
        try:
            loaded = self._load(self.settings)
            check_settings(self.settings, loaded.system)
            self._introduce(loaded)
        except OccError as error:
            self.get_logger().error(f"cannot configure: {error}")
            return _FAILURE
        self._pipeline = Pipeline(self, loaded, lambda: self.settings)
        self._params.freeze(self._pipeline.check)
        self._broadcast_grid(self.settings.frames)
        self._state = "inactive"
        return _SUCCESS

    @_told
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and publish."""
        if self._is_busy("activate"):
            return _FAILURE
        super().on_activate(state)
        self._pipeline.activate()
        self._state = "active"
        topics = ", ".join(a.topic for a in self._pipeline.inputs.arrivals.values())
        self.get_logger().info(f"active; images from {topics}")
        return _SUCCESS

    @_told
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop intake and publishing."""
        self._pipeline.deactivate(_STOP_TIMEOUT_S)
        self._state = "inactive"
        return super().on_deactivate(state)

    @_told
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Withdraw the topics and free the device."""
        if self._is_busy("clean up"):
            return _FAILURE
        self._pipeline.destroy()
        self._pipeline = None
        if self._static_frames is not None:
            self.destroy_publisher(self._static_frames)
            self._static_frames = None
        torch.cuda.empty_cache()
        self._params.thaw()
        self._state = "unconfigured"
        return _SUCCESS

    @_told
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop for good."""
        self.close()
        self._state = "finalized"
        return _SUCCESS

    def _is_busy(self, what: str) -> bool:
        if self._pipeline.is_busy:
            self.get_logger().error(f"cannot {what}: a frame is still being worked on; try again")
        return bool(self._pipeline.is_busy)

    def _introduce(self, loaded: Any) -> None:
        """Say what runs, and warm it up where kernels are compiled and chosen."""
        log = self.get_logger()
        log.info(f"{self.get_name()} runs on {loaded.device} in {self.settings.system.precision}")
        if loaded.weights:
            log.info(f"weights: {loaded.weights}")
        else:
            log.warning("the weights are RANDOM, the grids mean nothing: give system.weights")
        if loaded.device.startswith("cuda"):
            times = warm_up(loaded.system)
            log.info(f"warmed up: first {times.first_s:.2f} s, then {1e3 * times.best_s:.1f} ms")

    def _broadcast_grid(self, frames: FrameSettings) -> None:
        """Give robots without a LiDAR the frame that the grid lives in."""
        if not frames.grid_pose_in_base:
            return
        x, y, z, roll, pitch, yaw = frames.grid_pose_in_base
        T = transform((x, y, z), compat.quaternion_from_euler(roll, pitch, yaw))
        self._pipeline.buffer.set(frames.base, frames.grid, T)
        now_ns = self.get_clock().now().nanoseconds
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._static_frames = self.create_publisher(TFMessage, "/tf_static", latched)
        stamped = messages.transform_stamped(self._types, now_ns, frames.base, frames.grid, T)
        self._static_frames.publish(TFMessage(transforms=[stamped]))

    def _on_reset(self, request: Any, response: Any) -> Any:
        if self._pipeline is not None:
            self._pipeline.reset()
        response.success = self._pipeline is not None
        response.message = "reset" if self._pipeline else "the node is not configured"
        return response

    def _publish_diagnostics(self) -> None:
        if self._pipeline is None:
            return
        pipeline = self._pipeline
        arrivals = pipeline.inputs.arrivals if pipeline.inputs else {}
        health = diagnostics.Health(
            state=self._state,
            device=pipeline.loaded.device,
            weights=pipeline.loaded.weights or "RANDOM",
            has_random_weights=not pipeline.loaded.weights,
            crashes=pipeline.crashes,
            last_drop=pipeline.accounting.take_recent(),
            inputs={
                role: diagnostics.InputHealth(a.topic, a.rate_hz(), a.age_s())
                for role, a in arrivals.items()
            },
        )
        now_ns = self.get_clock().now().nanoseconds
        name = self.get_fully_qualified_name()
        profiler = pipeline.accounting.profiler
        self._diagnostics.publish(
            diagnostics.diagnostic_array(self._types, now_ns, name, health, profiler)
        )
