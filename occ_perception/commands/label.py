"""`occ label`: a teacher's answers as label layers beside the bags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.progress import Progress
from tyro.conf import Positional

from occ_perception.core.errors import ConfigError
from occ_perception.systems.base import Precision
from occ_training.recipes.vlscene_data import VLSceneTopics

DESCRIPTION = """Ask a teacher about every image and keep its answers as bags with the same stamps.

Examples:
  occ label lseg bags/kitti_06 layers --weights lseg.safetensors --device cuda
  occ label lseg bags/kitti_06 layers --weights lseg.safetensors --shard 0/4   (one of 4 workers)
  occ label toy world/scene_1000 layers --topics.classes /teacher/classes

Can be stopped and started again at any time. Exit code: 0 complete, 3 parts are still missing."""

PARTLY = 3


@dataclass(frozen=True)
class LabelOptions:
    """Ask a teacher about every image and keep its answers.

    Attributes:
        teacher: Who is asked: lseg, or toy (the procedural world's stand-in).
        bag: Recording.
        out: Folder of the label layers; the layer is named like the recording.
        weights: LSeg's converted weights (`occ weights convert lseg demo_e200.ckpt ...`).
        preset: Preset of the student: answers are for its image size.
        device: Where the teacher runs.
        precision: Of the teacher; published is fp16.
        shard: This worker's share, i/n with i from 0.
        topics: Where things are in the bag; only frames with all layers named here are labelled.
    """

    teacher: Positional[Literal["lseg", "toy"]]
    bag: Positional[Path]
    out: Positional[Path]
    weights: Path | None = None
    preset: Literal["published", "nano"] = "published"
    device: str = "cpu"
    precision: Precision = "fp32"
    shard: str = "0/1"
    topics: VLSceneTopics = field(default_factory=lambda: VLSceneTopics(points=""))


def main(arguments: Sequence[str]) -> int:
    """Run `occ label`."""
    given = list(arguments) or ["--help"]
    return run(tyro.cli(LabelOptions, prog="occ label", description=DESCRIPTION, args=given))


def run(options: LabelOptions) -> int:
    """Do this worker's share.

    Raises:
        OccError: Weights, bag or folder cannot be used.
    """
    from occ_perception.systems.catalog import find_system
    from occ_training.labels.pixel_labels import PixelLabeler
    from occ_training.labels.worker import Shard, label, write_inventory

    shard = Shard.parse(options.shard)
    config = find_system("vlscene").presets[options.preset]()
    teacher = find_teacher(options, config.published_slips)
    labeler = PixelLabeler(
        options.bag, teacher, config, options.topics, f"/labels/{options.teacher}"
    )
    console = Console(highlight=False)
    with Progress(console=console) as progress:
        task = progress.add_task(labeler.recording, total=len(labeler.stamps_ns))
        state = label(
            labeler, options.out, shard, lambda done: progress.update(task, completed=done)
        )
    write_inventory(options.out, {labeler.recording: state})
    missing = f", {state.missing} of {state.parts} parts missing" if state.missing else ""
    console.print(f"{options.out / labeler.recording}: {state.frames} frames{missing}")
    return 0 if state.is_complete else PARTLY


def find_teacher(options: LabelOptions, published_slips: bool):
    """The teacher that was asked for.

    Raises:
        ConfigError: LSeg without weights.
    """
    if options.teacher == "toy":
        from occ_training.labels.toy import ToyTeacher

        return ToyTeacher()
    if options.weights is None:
        raise ConfigError("lseg needs --weights FILE (occ weights convert lseg demo_e200.ckpt ...)")
    from occ_training.labels.lseg import LSegConfig, load_lseg

    config = LSegConfig(published_slips=published_slips)
    return load_lseg(options.weights, config, options.device, options.precision)
