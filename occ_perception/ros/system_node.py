"""Main functions of the nodes: start, spin, and an end that leaves nothing behind."""

from __future__ import annotations

import os
import signal

import rclpy
from rclpy.executors import ExternalShutdownException

from occ_perception.core.errors import OccError
from occ_perception.ros.loading import Loader, loader_of
from occ_perception.ros.node import OccupancyNode
from occ_perception.ros.settings import NodeSettings
from occ_perception.ros.starting import init_ros
from occ_perception.ros.system_settings import SETTINGS


def run_system(system: str, args: list[str] | None = None) -> int:
    """Run the node of a system of the catalogue; returns the exit code.

    Args:
        system: Name of the system.
        args: Command line, None = that of the process.
    """
    return run(f"{system}_node", loader_of(system), args, SETTINGS[system])


def run(
    name: str,
    load: Loader,
    args: list[str] | None = None,
    settings: type[NodeSettings] = NodeSettings,
) -> int:
    """Run a node until it is told to end; returns the exit code.

    Args:
        name: Name of the node.
        load: Builds its system.
        args: Command line, None = that of the process.
        settings: What can be set.
    """
    node, code = None, 0
    try:
        init_ros(args)
        node = OccupancyNode(name, load, settings)
        if node.settings.autostart and not node.start():
            code = 1
        else:
            rclpy.spin(node)
    except OccError as error:
        rclpy.logging.get_logger(name).fatal(f"refuses to start: {error}")
        code = 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RuntimeError:  # rclpy's, when the signal ends its context between two waits
        if rclpy.ok():
            raise
    finally:
        # Ctrl-C arrives twice under a launch file; the second must not interrupt the leaving.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        has_ended = node is None or node.close()
        rclpy.try_shutdown()
    if not has_ended:
        os._exit(code)  # a network in the middle of a frame would hold the process for minutes
    return code
