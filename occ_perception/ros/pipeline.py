"""What a configured node is made of: inputs -> synchroniser -> workers -> outputs."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from occ_perception.core.labels import LabelMap
from occ_perception.core.types import CameraFrame, FrameSet, Prediction
from occ_perception.ros import images
from occ_perception.ros.accounting import Accounting
from occ_perception.ros.extra_outputs import Answer, ExtraOutputs
from occ_perception.ros.inputs import Inputs
from occ_perception.ros.loading import Loaded
from occ_perception.ros.messages import stamp_ns
from occ_perception.ros.odometry import Motion
from occ_perception.ros.outputs import Outputs, plan_views
from occ_perception.ros.prompts import PromptDesk
from occ_perception.ros.settings import NodeSettings
from occ_perception.ros.tf_rig import CameraRig
from occ_perception.ros.volume import host_volume
from occ_perception.runtime.engine import Engine, Job
from occ_perception.runtime.profiler import StageTimer
from occ_perception.sync.synchronizer import Outcome, SyncedSet
from occ_perception.sync.transforms_buffer import TransformBuffer
from occ_perception.systems.base import Concern, OccupancySystem

Raw = SyncedSet[Any]


class Arrived(NamedTuple):
    """An image that waits for its set.

    Attributes:
        message: As it came.
        frame: The decoded image to be, where its preparation has begun.
    """

    message: Any
    frame: Future[CameraFrame] | None = None


class Pipeline:
    """Lives from configure to cleanup; runs between activate and deactivate."""

    def __init__(self, node: Any, loaded: Loaded, settings: Callable[[], NodeSettings]) -> None:
        """Advertise the outputs.

        Args:
            node: rclpy lifecycle node.
            loaded: System with weights.
            settings: The settings of the moment.
        """
        self.loaded = loaded
        self.crashes = 0
        self.inputs: Inputs | None = None
        self.buffer = TransformBuffer()
        self.accounting = Accounting(self._report, node.get_logger().warning)
        self._node = node
        self._settings = settings
        frames = settings().frames
        system = loaded.system
        self._rig = CameraRig(system.needs, self.buffer, frames.grid, frames.tf_timeout_s)
        self._motion = Motion(frames, self.buffer, node.get_logger().warning)
        self._outputs = Outputs(node)
        self._extras = ExtraOutputs(node, system.offers)
        self._desk = self._prompt_desk() if loaded.wordings else None
        self._engine: Engine[Raw] | None = None
        self._grey: set[str] = set()
        self._noted: set[str] = set()

    @property
    def is_busy(self) -> bool:
        """Whether a worker has not ended yet; a network cannot be stopped within a frame."""
        return self._engine is not None and self._engine.is_running

    def activate(self) -> None:
        """Start the workers, latch the label map, subscribe."""
        self.accounting.clear()
        self._latch(self.loaded.system.labels)
        self._engine = Engine(
            self.loaded.system,
            self._decode,
            self._answer,
            self.accounting.dropped,
            self._crash,
            self._between,
        )
        self._engine.start()
        roles, settings = self.loaded.system.needs.cameras, self._settings()
        self.inputs = Inputs(
            self._node,
            roles,
            settings.anchor(roles),
            settings.cameras,
            self._rig,
            self.buffer,
            self._motion,
            self._receive,
            self._take,
        )

    def deactivate(self, timeout_s: float) -> None:
        """Unsubscribe and end the workers; what waits is reported as dropped."""
        if self.inputs is not None:
            inputs, self.inputs = self.inputs, None
            self._take(inputs.stop())
        if self._engine is not None:
            self._engine.stop(timeout_s)

    def destroy(self) -> None:
        """Withdraw the outputs."""
        self._outputs.destroy()
        self._extras.destroy()
        if self._desk is not None:
            self._desk.destroy()

    def check(self, settings: Any) -> None:
        """Whether live settings may become these.

        Raises:
            ConfigError: One of them does not fit the system.
        """
        check_settings(settings, self.loaded.system)
        if self._desk is not None:
            self._desk.check(settings.prompts)

    def reset(self) -> None:
        """Forget waiting images, sets under way, the system's history and all counts."""
        if self.inputs is not None:
            self._take(self.inputs.reset())
        self._forget()
        self.accounting.clear()

    def _forget(self) -> None:
        self.buffer.clear_timed()
        self._motion.forget()
        if self._engine is not None:
            self._engine.reset()

    def _take(self, outcome: Outcome[Any]) -> None:
        """In the executor's thread: hand sets to the workers, account for the rest."""
        if outcome.has_jumped_back:
            self._node.get_logger().warning(
                "time jumped back (a bag began again?): history, transforms and waiting images "
                "are forgotten"
            )
            self._forget()
        for drop in outcome.drops:
            self.accounting.dropped(drop.stamp_ns, drop.reason)
        for found in outcome.sets:
            self.accounting.formed()
            if self._engine is not None:
                self._engine.submit(found.stamp_ns, found)

    def _receive(self, role: str, message: Any) -> Arrived:
        """In the executor's thread: let the image be prepared while the network rests."""
        if self._engine is None:
            return Arrived(message)
        return Arrived(message, self._engine.early(lambda: self._frame_of(role, message)))

    def _decode(self, raw: Raw, timer: StageTimer) -> FrameSet:
        """In the prepare worker: messages to frames."""
        timer.seconds["decode"] = 0.0  # first of the stages, as the timer keeps their order
        timer.seconds["sync"] = raw.waited_s
        with timer.stage("decode"):
            frames = tuple(self._frame(role, raw) for role in self.loaded.system.needs.cameras)
            moves = self.loaded.system.needs.ego_motion
            return FrameSet(frames, raw.stamp_ns, self._motion.at(raw.stamp_ns) if moves else None)

    def _frame(self, role: str, raw: Raw) -> CameraFrame:
        arrived: Arrived = raw.payloads[role]
        if arrived.frame is not None:
            return arrived.frame.result()
        return self._frame_of(role, arrived.message)

    def _frame_of(self, role: str, message: Any) -> CameraFrame:
        image = images.decode(message)
        if image.is_grey and role not in self._grey:
            self._grey.add(role)
            self._node.get_logger().warning(
                f"camera '{role}' sends grey images; they are taken as colourless RGB, "
                "which is not what networks are trained on"
            )
        time_ns = stamp_ns(message.header.stamp)
        return CameraFrame(image.rgb, self._rig.camera(role, time_ns), time_ns)

    def _between(self) -> frozenset[str]:
        """In the inference worker, before a set: let changes come into force."""
        self._settings().apply(self.loaded.system)
        if self._desk is not None:
            self._desk.before_set()
        return self._extras.wanted()

    def _prompt_desk(self) -> PromptDesk:
        return PromptDesk(
            self._node,
            self.loaded.system,
            self.loaded.wordings,
            lambda: self._settings().prompts,
            self._latch,
        )

    def _latch(self, labels: LabelMap) -> None:
        now_ns = self._node.get_clock().now().nanoseconds
        self._outputs.publish_label_map(labels, now_ns)

    def _answer(self, prediction: Prediction, job: Job[Raw]) -> None:
        """In the inference worker: publish a prediction with the stamp of its input."""
        system, timer = self.loaded.system, job.timer
        with timer.stage("post"):
            volume = host_volume(prediction, system.labels)
            plan = plan_views(self._settings().output, system.grid, system.labels)
        with timer.stage("publish"):
            self._outputs.publish_volume(volume, plan)
            camera = job.views[0].camera
            frame = self._rig.frame_of(system.needs.cameras[0])
            self._extras.publish_all(Answer(prediction, volume, camera, frame))
        if self._desk is not None:
            self._desk.after_set(job.stamp_ns)
        timer.seconds["total"] = job.raw.waited_s + time.perf_counter() - job.created_s
        self.accounting.published(job.stamp_ns, timer.seconds)
        for note in set(system.notes()) - self._noted:
            self._noted.add(note)
            if isinstance(note, Concern):  # rclpy wants one severity per line of code
                self._node.get_logger().warning(note)
            else:
                self._node.get_logger().info(note)

    def _crash(self, error: BaseException) -> None:
        self.crashes += 1
        self._node.get_logger().error(
            f"unexpected {type(error).__name__} while answering a set: {error}; this is a bug of "
            "the package, please report it with the input that caused it"
        )

    def _report(self, stamp_ns: int, reason: str, seconds: Any, counts: Any) -> None:
        base = self._settings().frames.base
        self._outputs.publish_latency(stamp_ns, base, reason, seconds, counts)


def check_settings(settings: Any, system: OccupancySystem) -> None:
    """Whether settings fit a system.

    Raises:
        ConfigError: A class, the height band or the anchor does not.
    """
    plan_views(settings.output, system.grid, system.labels)
    settings.anchor(system.needs.cameras)
