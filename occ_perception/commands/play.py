"""`occ play`: play a bag into ROS topics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import tyro

from occ_perception.bags.reader import BagReader
from occ_perception.bags.stereo import StereoTopics, find_stereo
from occ_perception.bags.topics import COMPRESSED
from occ_perception.core.errors import ConfigError
from occ_perception.ros.launch_plan import dds_environment, foreign_topics, node_name
from occ_perception.ros.playback import PlaybackOptions, play

DESCRIPTION = """Play a bag into ROS topics, with /clock.

Examples:
  occ play kitti_06
  occ play street --to vlscene --wait       (beside `occ run vlscene` in another terminal)
  occ play kitti_06 --to vlscene --wait     (beside `occ run vlscene --compressed`)
  occ play kitti_06 --rate 0.5 --topics /tf /tf_static /camera/left/image_rect/compressed"""


@dataclass(frozen=True)
class PlayOptions(PlaybackOptions):
    """Play a bag into ROS topics, with /clock.

    Attributes:
        to: System whose node shall get the stereo pair of the bag: its topics are renamed to the
            inputs of the node as `occ run SYSTEM` starts it.
        wait: With --to: publish the next pair only when the last one was answered.
    """

    to: str | None = None
    wait: bool = False

    def playback(self) -> PlaybackOptions:
        """Options of the player, with everything that --to stands for.

        Raises:
            ConfigError: --wait without --to, or there is no such system.
            BagError: The bag has no single stereo pair.
        """
        given = {field.name: getattr(self, field.name) for field in fields(PlaybackOptions)}
        options = PlaybackOptions(**given)
        if self.to is None:
            if self.wait:
                raise ConfigError("--wait needs --to SYSTEM, or name the topic with --wait-for")
            return options
        name = node_name(self.to)
        with BagReader(self.bag) as bag:
            stereo = find_stereo(bag)
        topics = self.topics or tuple(foreign_topics(str(self.bag), name))
        options = replace(options, topics=topics, remap=(*self.remap, *remap_rules(stereo)))
        if self.wait:
            options = replace(options, wait_for=f"/{name}/latency", anchor=stereo.left_image)
        return options


def remap_rules(stereo: StereoTopics) -> list[str]:
    """Rules that rename a bag's stereo pair to the inputs of a node."""
    suffix = COMPRESSED if stereo.compressed else ""
    return [
        f"{stereo.left_image}:=/left/image_rect{suffix}",
        f"{stereo.right_image}:=/right/image_rect{suffix}",
        f"{stereo.left_info}:=/left/camera_info",
        f"{stereo.right_info}:=/right/camera_info",
    ]


def main(arguments: Sequence[str]) -> int:
    """Run `occ play`."""
    given = list(arguments) or ["--help"]
    options = tyro.cli(PlayOptions, prog="occ play", description=DESCRIPTION, args=given)
    playback = options.playback()
    dds_environment()
    play(playback, [])
    return 0
