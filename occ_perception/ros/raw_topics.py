"""Topics whose messages pass through as bytes: classes, QoS, and processes that end well."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from occ_perception.bags.topics import TopicQos
from occ_perception.core.errors import BagError, OccError
from occ_perception.ros.starting import init_ros


def message_class(msgtype: str) -> type:
    """Python class of a message type.

    Args:
        msgtype: "package/msg/Name".

    Raises:
        BagError: The package is not installed, or not built.
    """
    package, _, name = msgtype.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise BagError(
            f"message type {msgtype} cannot be used: install or build the package {package}"
        ) from error


def to_profile(qos: TopicQos) -> QoSProfile:
    """Form in which rclpy takes it."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=qos.depth,
        reliability=ReliabilityPolicy.RELIABLE if qos.reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=(DurabilityPolicy.TRANSIENT_LOCAL if qos.latched else DurabilityPolicy.VOLATILE),
    )


def from_profile(profile: QoSProfile, depth: int) -> TopicQos:
    """What a publisher of the graph offers; its depth is not told over the wire."""
    return TopicQos(
        reliable=profile.reliability != ReliabilityPolicy.BEST_EFFORT,
        latched=profile.durability == DurabilityPolicy.TRANSIENT_LOCAL,
        depth=depth,
    )


@contextmanager
def ros(arguments: Sequence[str]) -> Iterator[None]:
    """ROS without its own signal handlers: the caller ends its work first, then ROS.

    Args:
        arguments: Command line; what follows --ros-args is ROS's.

    Raises:
        ConfigError: An argument for ROS cannot be used.
    """
    init_ros(arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield
    finally:
        rclpy.try_shutdown()


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on SIGINT and SIGTERM, however often they come."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, lambda *_: stop()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)


@contextmanager
def spinning(node: Node) -> Iterator[None]:
    """Serve a node's callbacks in a thread while the block runs."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin() -> None:
        with suppress(ExternalShutdownException):
            executor.spin()

    thread = Thread(target=spin, name="callbacks")
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join()


def exit_code(program: str, work: Callable[[], None]) -> int:
    """Run a program; an error of ours becomes one line on standard error and exit code 1."""
    try:
        work()
    except OccError as error:
        sys.stderr.write(f"{program}: {error}\n")
        return 1
    except KeyboardInterrupt:  # before the work could look after signals itself
        return 128 + signal.SIGINT
    return 0
