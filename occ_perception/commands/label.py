"""`occ label`: a teacher's answers as label layers beside the bags."""

from __future__ import annotations

from collections.abc import Sequence

import tyro
from rich.console import Console
from rich.progress import Progress

from occ_perception.commands.camera_options import unclear_cameras
from occ_perception.commands.label_base import Job
from occ_perception.commands.label_jobs import TEACHERS
from occ_training.labels.storage import Storage, storage_of
from occ_training.labels.worker import Labeler, Shard, label, write_inventory

DESCRIPTION = """Ask a teacher about every image and keep its answers as bags with the same stamps.

Examples:
  occ label lseg bags/kitti_06 layers --weights lseg.safetensors --device cuda
  occ label depth bags/scene-0103 layers/depth --model depth_anything_v2_metric --scale 0.44
  occ label masks bags/scene-0103 layers/masks --detector grounding_dino --segmenter sam
  occ label maskclip bags/scene-0103 layers/clip --weights maskclip_plus.safetensors
  occ label toy world/train layers --layers depth masks       (stand-ins, procedural world only)
  occ label ... --shard 0/4                                   (one of 4 workers)

BAG may be a folder of bags. Models of the transformers library are read from a folder on this
machine; nothing is fetched unless --download says so. What a layer takes on the disk is printed
first. Can be stopped and started again at any time, by any number of workers; a layer appears when
it is whole.

Exit code: 0 = complete, 3 = parts are still missing, 2 = refused."""

PARTLY = 3


def main(arguments: Sequence[str]) -> int:
    """Run `occ label`."""
    job = tyro.extras.subcommand_cli_from_dict(
        TEACHERS,
        prog="occ label",
        description=DESCRIPTION,
        args=list(arguments) or ["--help"],
    )
    return run(job, Console(highlight=False))


def run(job: Job, console: Console) -> int:
    """Do this worker's share of every recording.

    Raises:
        OccError: Weights, bag or folder cannot be used.
    """
    shard = Shard.parse(job.shard)
    with unclear_cameras("--topics.left LEFT --topics.right RIGHT (topics)"):
        labelers = job.labelers()
    show_storage(storage_of(labelers[0], job.out), labelers, console)
    if job.dry_run:
        return 0
    states = {}
    with Progress(console=console) as progress:
        for labeler in labelers:
            task = progress.add_task(labeler.recording, total=len(labeler.stamps_ns))
            states[labeler.recording] = label(
                labeler, job.out, shard, lambda done, t=task: progress.update(t, completed=done)
            )
    write_inventory(job.out, states)
    for name, state in states.items():
        missing = f", {state.missing} of {state.parts} parts missing" if state.missing else ""
        console.print(f"{job.out / name}: {state.frames} images{missing}")
    return 0 if all(state.is_complete for state in states.values()) else PARTLY


def show_storage(storage: Storage, labelers: Sequence[Labeler], console: Console) -> None:
    """What the layers will take, and what is free."""
    images = sum(len(labeler.stamps_ns) for labeler in labelers)
    total = storage.image_bytes * images
    console.print(
        f"about {_size(1000 * storage.image_bytes)} per 1000 images; {images} images in "
        f"{len(labelers)} recordings: {_size(total)}, {_size(storage.free_bytes)} are free"
    )
    if 2 * total > storage.free_bytes:
        console.print("[yellow]the disk is too small for that: parts and whole lie side by side[/]")


def _size(count: int) -> str:
    """Bytes for people."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
