"""What can be asked of the player; command lines are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from occ_perception.bags.player import PlayerSettings
from occ_perception.core.errors import ConfigError


@dataclass(frozen=True)
class PlaybackOptions:
    """Play a bag into ROS topics, with /clock.

    Attributes:
        bag: Bag folder or file (ROS 2 MCAP or SQLite, ROS 1).
        rate: Bag seconds per second; inf = as fast as reliable readers take it.
        start: Seconds of the bag to leave out at the beginning.
        duration: Seconds of the bag to play; all of it by default.
        loop: Start again at the end; time jumps back then.
        topics: Topics to play; all by default.
        remap: New names of topics, as OLD:=NEW.
        clock: Ticks of /clock per second; 0 = no /clock.
        wait_for: Topic with occ_msgs/FrameLatency: publish the next image only when the last one
            was answered there, so that a slow node misses none.
        anchor: Image topic that is answered; by default the left one of the stereo pair.
        answer_timeout: Give up after so many seconds without an answer; never by default.
        subscriber_timeout: Start after so many seconds even if nobody listens to the images;
            by default 10, and never with --wait-for.
    """

    bag: Positional[Path]
    rate: float = 1.0
    start: float = 0.0
    duration: float | None = None
    loop: bool = False
    topics: tuple[str, ...] = ()
    remap: Annotated[tuple[str, ...], arg(metavar="OLD:=NEW ...")] = ()
    clock: float = 100.0
    wait_for: str | None = None
    anchor: str | None = None
    answer_timeout: float | None = None
    subscriber_timeout: float | None = None

    def settings(self, topics: tuple[str, ...]) -> PlayerSettings:
        """The part that the player itself needs."""
        return PlayerSettings(
            self.rate,
            self.start,
            self.duration,
            self.loop,
            topics,
            dict(parse_remap(rule) for rule in self.remap),
            self.clock,
        )


def parse_remap(rule: str) -> tuple[str, str]:
    """Split OLD:=NEW.

    Raises:
        ConfigError: The text has another form.
    """
    old, separator, new = rule.partition(":=")
    if not (old.startswith("/") and separator and new.startswith("/")):
        raise ConfigError(f"remap rule '{rule}' is not /OLD:=/NEW")
    return old, new
