"""Program `bag_recorder`: record ROS topics into a bag."""

from __future__ import annotations

import sys

import tyro

from occ_perception.ros.raw_topics import exit_code
from occ_perception.ros.recording import RecordingOptions, record
from occ_perception.ros.starting import own_arguments


def main(arguments: list[str] | None = None) -> int:
    """Record topics; options of ROS may follow --ros-args.

    Args:
        arguments: Command line without the program's name; by default this process's.

    Returns:
        Exit code: 0 after a signal, 1 after an error.
    """
    given = sys.argv[1:] if arguments is None else arguments

    def work() -> None:
        record(tyro.cli(RecordingOptions, prog="bag_recorder", args=own_arguments(given)), given)

    return exit_code("bag_recorder", work)


if __name__ == "__main__":
    sys.exit(main())
