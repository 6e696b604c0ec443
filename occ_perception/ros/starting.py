"""Starting ROS: what it would refuse with a traceback is refused with one sentence before."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import rclpy
import rclpy.utilities
from rclpy.impl.implementation_singleton import rclpy_implementation

from occ_perception.core.errors import ConfigError
from occ_perception.ros.params_file import check_params_file

_FILE_FLAG = "--params-file"
_REFUSALS = (rclpy_implementation.RCLError, rclpy_implementation.UnknownROSArgsError)


def init_ros(arguments: Sequence[str] | None = None, **options: Any) -> None:
    """`rclpy.init`.

    Args:
        arguments: Command line; None = that of the process.
        options: For `rclpy.init`.

    Raises:
        ConfigError: A parameter file or an argument after --ros-args cannot be read.
    """
    words = list(sys.argv if arguments is None else arguments)
    for flag, file in pairwise(words):
        if flag == _FILE_FLAG:
            check_params_file(Path(file))
    with _refusals_reported():
        rclpy.init(args=words, **options)


def own_arguments(arguments: Sequence[str]) -> list[str]:
    """The words of a command line that are not ROS's.

    Raises:
        ConfigError: An argument after --ros-args cannot be read.
    """
    with _refusals_reported():
        return list(rclpy.utilities.remove_ros_args(args=arguments))


@contextmanager
def _refusals_reported() -> Iterator[None]:
    try:
        yield
    except _REFUSALS as error:
        first_line = str(error).partition(", at /")[0].splitlines()[0]
        raise ConfigError(
            f"the arguments after --ros-args cannot be used ({first_line}); parameters are given "
            "as `-p group.name:=value`, topics as `-r from:=to`"
        ) from None
