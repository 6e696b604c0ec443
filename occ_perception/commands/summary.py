"""What became of the images of a run: read from the messages in its output bag."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from occ_perception.bags.reader import BagReader
from occ_perception.bags.topics import TopicKind
from occ_perception.core.errors import BagError

LATENCY_TYPE = "occ_msgs/msg/FrameLatency"
PUBLISHED = "published"


@dataclass
class Summary:
    """Counts and times of a run.

    Attributes:
        frames: Images in the bag by topic.
        formed: Complete sets that were formed.
        published: Sets that became a grid.
        dropped: Sets that did not, by reason.
        stages: Seconds of each stage, one value per published set.
        grids: VoxelGrid messages in the bag.
    """

    frames: dict[str, int] = field(default_factory=dict)
    formed: int = 0
    published: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    stages: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    grids: int = 0

    def tables(self) -> RenderableType:
        """Both tables for the terminal."""
        counts = Table(title="Frames", title_justify="left")
        counts.add_column("what")
        counts.add_column("count", justify="right")
        for topic, count in self.frames.items():
            counts.add_row(f"images in, {topic}", str(count))
        counts.add_row("sets formed", str(self.formed))
        counts.add_row("published", str(self.published), style="bold")
        for reason, count in self.dropped.most_common():
            counts.add_row(f"dropped: {reason}", str(count), style="yellow")
        if not self.dropped:
            counts.add_row("dropped", "0")
        times = Table(title="Stage latencies", title_justify="left")
        times.add_column("stage")
        for name in ("mean", "p99", "max"):
            times.add_column(f"{name}, ms", justify="right")
        for stage, seconds in self.stages.items():
            values = 1e3 * np.asarray(seconds)
            numbers = (values.mean(), np.percentile(values, 99), values.max())
            times.add_row(stage, *(f"{number:.1f}" for number in numbers))
        return Group(counts, times)


def summarize(path: Path) -> Summary:
    """Read the summary of a run from its output bag.

    Args:
        path: Bag with the node's `~/latency` topic and its input images.

    Raises:
        BagError: The bag cannot be read or has no latency topic.
    """
    summary = Summary()
    with BagReader(path) as bag:
        images = (TopicKind.IMAGE, TopicKind.COMPRESSED_IMAGE)
        topics = bag.topics.values()
        latency = [t.name for t in topics if t.msgtype == LATENCY_TYPE]
        own = tuple(f"{name.rpartition('/')[0]}/" for name in latency)  # what nodes painted
        summary.frames = {
            t.name: t.count for t in topics if t.kind in images and not t.name.startswith(own)
        }
        summary.grids = sum(t.count for t in topics if t.kind is TopicKind.VOXELS)
        if not latency:
            raise BagError(f"bag {path} has no {LATENCY_TYPE}: it is not the output of a node")
        for message in bag.messages(latency):
            _add(summary, bag.decode(message))
    return summary


def _add(summary: Summary, report: object) -> None:
    summary.formed = max(summary.formed, report.sets_formed)
    if report.outcome != PUBLISHED:
        summary.dropped[report.reason] += 1
        return
    summary.published += 1
    for stage in report.stages:
        summary.stages[stage.stage].append(stage.seconds)
