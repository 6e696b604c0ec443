"""`occ play`: play a bag into ROS topics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import tyro

from occ_perception.bags.reader import BagReader
from occ_perception.bags.rigs import RigTopics, find_rig
from occ_perception.bags.topics import COMPRESSED
from occ_perception.core.errors import ConfigError
from occ_perception.ros.launch_plan import dds_environment, foreign_topics, node_name
from occ_perception.ros.playback import PlaybackOptions, play
from occ_perception.ros.topics import image_input, info_input
from occ_perception.systems.roles import ROLES, anchor_of

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
        to: System whose node shall get the cameras of the bag: their topics are renamed to the
            inputs of the node as `occ run SYSTEM` starts it.
        wait: With --to: publish the next set only when the last one was answered.
    """

    to: str | None = None
    wait: bool = False

    def playback(self) -> PlaybackOptions:
        """Options of the player, with everything that --to stands for.

        Raises:
            ConfigError: --wait without --to, or there is no such system.
            BagError: The bag does not have the cameras, or not clearly.
        """
        given = {field.name: getattr(self, field.name) for field in fields(PlaybackOptions)}
        options = PlaybackOptions(**given)
        if self.to is None:
            if self.wait:
                raise ConfigError("--wait needs --to SYSTEM, or name the topic with --wait-for")
            return options
        name = node_name(self.to)
        with BagReader(self.bag) as bag:
            rig = find_rig(bag, ROLES[self.to])
        topics = self.topics or tuple(foreign_topics(str(self.bag), name))
        options = replace(options, topics=topics, remap=(*self.remap, *remap_rules(rig)))
        if self.wait:
            options = replace(
                options, wait_for=f"/{name}/latency", anchor=rig.images[anchor_of(ROLES[self.to])]
            )
        return options


def remap_rules(rig: RigTopics) -> list[str]:
    """Rules that rename a bag's cameras to the inputs of a node."""
    suffix = COMPRESSED if rig.compressed else ""
    images = [f"{topic}:=/{image_input(role)}{suffix}" for role, topic in rig.images.items()]
    return images + [f"{topic}:=/{info_input(role)}" for role, topic in rig.infos.items()]


def main(arguments: Sequence[str]) -> int:
    """Run `occ play`."""
    given = list(arguments) or ["--help"]
    options = tyro.cli(PlayOptions, prog="occ play", description=DESCRIPTION, args=given)
    playback = options.playback()
    dds_environment()
    play(playback, [])
    return 0
