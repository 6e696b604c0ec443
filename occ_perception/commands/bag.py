"""`occ bag`: look into a bag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from rich.tree import Tree
from tyro.conf import Positional

from occ_perception.bags.cameras import BagCamera, cameras_of_bag
from occ_perception.bags.index import BagIndex, MessageStore, TopicIndex, open_index
from occ_perception.bags.topics import TopicKind, kind_of
from occ_perception.bags.transforms import TransformTable
from occ_perception.core.errors import OccError

DESCRIPTION = """Look into a bag.

Examples:
  occ bag info semantickitti_08
  occ bag pictures semantickitti_08 --output pictures --count 4"""

BREAK_PERIODS = 1.5
CAMERA_COLUMNS = ("image", "frame", "size", "model", "field [deg]", "focal [px]", "Tx/f [m]")
NANOSECONDS = 1e9


@dataclass(frozen=True)
class Rate:
    """How regularly messages come.

    Attributes:
        hz: Messages per second, of the middle gap; 0 for fewer than two.
        longest_gap_s: Seconds.
        breaks: Gaps longer than one and a half periods.
    """

    hz: float
    longest_gap_s: float
    breaks: int


def main(arguments: Sequence[str]) -> int:
    """Run `occ bag`."""
    return tyro.extras.subcommand_cli_from_dict(
        {"info": info, "pictures": pictures},
        prog="occ bag",
        description=DESCRIPTION,
        args=list(arguments) or ["--help"],
    )


def info(bag: Positional[Path]) -> int:
    """Topics with rates and gaps, cameras with field of view, frames, label layers.

    Args:
        bag: Folder of an MCAP bag, or an .mcap file.
    """
    console = Console(highlight=False, soft_wrap=True)
    index = open_index(bag)
    store = MessageStore(index.files)
    console.print(headline(index))
    console.print(topic_table(index))
    problems = []
    for title, show in (("Cameras", show_cameras), ("Frames", show_frames)):
        console.print(f"\n[bold]{title}[/]")
        try:
            problems += show(console, index, store)
        except OccError as error:
            problems.append(str(error))
    show_labels(console, index)
    for sentence in problems:
        console.print(f"[yellow]problem:[/] {sentence}")
    store.close()
    return 0


def rate_of(stamps_ns: np.ndarray) -> Rate:
    """Rate and gaps of stamps in ascending order, nanoseconds."""
    gaps_s = np.diff(stamps_ns) / NANOSECONDS
    gaps_s = gaps_s[gaps_s > 0]
    if gaps_s.size == 0:
        return Rate(0.0, 0.0, 0)
    period_s = float(np.median(gaps_s))
    return Rate(1 / period_s, float(gaps_s.max()), int((gaps_s > BREAK_PERIODS * period_s).sum()))


def headline(index: BagIndex) -> str:
    """Size and duration of a bag."""
    times = [t.times_ns for t in index.topics.values() if len(t)]
    seconds = 0.0
    if times:
        last, first = max(int(t.max()) for t in times), min(int(t.min()) for t in times)
        seconds = (last - first) / NANOSECONDS
    size_mb = sum(f.stat().st_size for f in index.files) / 1e6
    count = sum(len(t) for t in index.topics.values())
    return f"[bold]{index.path}[/]: {count} messages, {seconds:.2f} s, {size_mb:.1f} MB"


def topic_table(index: BagIndex) -> Table:
    """One row per topic."""
    table = Table(box=None, pad_edge=False)
    for name in ("topic", "type"):
        table.add_column(name, overflow="fold")
    for name in ("count", "Hz", "longest gap [s]", "breaks"):
        table.add_column(name, justify="right")
    for topic in sorted(index.topics.values(), key=lambda t: t.name):
        rate = rate_of(topic.stamps_ns)
        timed = (f"{rate.hz:.2f}", f"{rate.longest_gap_s:.3f}", str(rate.breaks or ""))
        row = timed if rate.hz else ("", "", "")
        table.add_row(topic.name, topic.msgtype, str(len(topic)), *row)
    return table


def show_cameras(console: Console, index: BagIndex, store: MessageStore) -> list[str]:
    """Cameras with their field of view; what is wrong with them comes back."""
    cameras = cameras_of_bag(index, store)
    table = Table(box=None, pad_edge=False)
    for name in (
        "image",
        "frame",
        "size",
        "model",
        "field of view [deg]",
        "focal [px]",
        "Tx/f [m]",
    ):
        table.add_column(name)
    for camera in cameras.values():
        table.add_row(*camera_row(camera))
    console.print(table)
    pictures = [t for t in index.topics.values() if is_picture(t)]
    return [
        f"{topic.name} has no camera_info beside it: nothing can be placed in its images"
        for topic in pictures
        if topic.name not in cameras
    ]


def is_picture(topic: TopicIndex) -> bool:
    """Whether a topic has images of a camera."""
    images = (TopicKind.IMAGE, TopicKind.COMPRESSED_IMAGE)
    return kind_of(topic.name, topic.msgtype) in images and "/ground_truth/" not in topic.name


def camera_row(camera: BagCamera) -> tuple[str, ...]:
    """A camera in words."""
    size = f"{camera.width}x{camera.height}"
    if not camera.is_calibrated:
        return camera.image, camera.frame_id, size, "not calibrated", "", "", ""
    model = "rectified" if camera.is_rectified else camera.model
    wide, high = camera.field_of_view_deg
    shift = f"{camera.P[0, 3] / camera.P[0, 0]:.4f}"
    focal = f"{camera.P[0, 0]:.2f}"
    return camera.image, camera.frame_id, size, model, f"{wide:.1f} x {high:.1f}", focal, shift


def show_frames(console: Console, index: BagIndex, store: MessageStore) -> list[str]:
    """The trees of frames; what is wrong with them comes back."""
    transforms = TransformTable.of_bag(index, store)
    children = transforms.edges
    roots = sorted(transforms.frames() - set(children))
    for root in roots:
        tree = Tree(root)
        _grow(tree, root, transforms)
        console.print(tree)
    if not roots:
        return ["there is no /tf and no /tf_static: no sensor has a place"]
    if len(roots) > 1:
        return [f"the frames hang on {len(roots)} roots ({', '.join(roots)}): connect them"]
    return []


def _grow(tree: Tree, frame: str, transforms: TransformTable) -> None:
    for child, edge in sorted(transforms.edges.items()):
        if edge.parent == frame:
            x, y, z = edge.poses[0, :3].round(3) + 0.0  # no -0.000
            moving = "static" if edge.is_static else f"{rate_of(edge.stamps_ns).hz:.1f} Hz"
            _grow(
                tree.add(f"{child}  [dim]{moving}, at {x:.3f} {y:.3f} {z:.3f} m[/]"),
                child,
                transforms,
            )


def show_labels(console: Console, index: BagIndex) -> None:
    """Topics with truth or pseudo labels."""
    layers = [
        t.name
        for t in index.topics.values()
        if "/ground_truth/" in t.name or kind_of(t.name, t.msgtype) is TopicKind.VOXELS
    ]
    console.print(f"\n[bold]Label layers[/]: {', '.join(sorted(layers)) or 'none'}")


def pictures(bag: Positional[Path], output: Path = Path("pictures"), count: int = 3) -> int:
    """LiDAR over image, voxels over image and views from above, of some instants of a bag.

    Args:
        bag: Folder of an MCAP bag.
        output: Folder for the PNG files.
        count: Instants, evenly spread over the bag.
    """
    from occ_perception.commands.bag_views import draw_bag

    console = Console(highlight=False, soft_wrap=True)
    for path in draw_bag(bag, output, count):
        console.print(str(path))
    return 0
