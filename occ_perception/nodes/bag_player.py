"""Program `bag_player`: play a bag into ROS."""

from __future__ import annotations

import sys

import tyro

from occ_perception.ros.playback import PlaybackOptions, play
from occ_perception.ros.raw_topics import exit_code
from occ_perception.ros.starting import own_arguments


def main(arguments: list[str] | None = None) -> int:
    """Play a bag; options of ROS may follow --ros-args.

    Args:
        arguments: Command line without the program's name; by default this process's.

    Returns:
        Exit code: 0 at the end of the bag or after a signal, 1 after an error.
    """
    given = sys.argv[1:] if arguments is None else arguments

    def work() -> None:
        play(tyro.cli(PlaybackOptions, prog="bag_player", args=own_arguments(given)), given)

    return exit_code("bag_player", work)


if __name__ == "__main__":
    sys.exit(main())
