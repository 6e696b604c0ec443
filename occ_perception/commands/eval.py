"""`occ eval`: score a system on a bag with voxel truth."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tyro.conf import Positional

from occ_perception.core.errors import ConfigError
from occ_perception.eval.bag_eval import (
    Evaluation,
    Predict,
    evaluate,
    shuffled,
    stored_predictions,
    system_predictions,
)
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.protocols import find_protocol
from occ_perception.eval.report import (
    Latency,
    as_document,
    class_rows,
    summary_rows,
    write_document,
)
from occ_perception.eval.submission import (
    find_predictions,
    prediction_file,
    read_prediction,
    write_prediction,
)
from occ_perception.eval.voxel_truth import VoxelTopic
from occ_perception.systems.base import Needs, Precision
from occ_perception.systems.roles import STEREO

DESCRIPTION = """Score a system on a bag with voxel truth (/ground_truth/voxels), three ways.

Examples:
  occ eval vlscene world/val_2000 --weights nano.safetensors --preset nano
  occ eval vlscene world/val_2000 --weights nano.safetensors --preset nano --live
  occ eval vlscene world/val_2000 --predictions submission/sequences/08/predictions

What comes out: a table, and with --output a folder with report.json, classes.png, confusion.png
and pictures of the worst frames. Exit code: 0 scored, 1 the truth knows nothing: no score."""

NO_SCORE = 1
PAIR = Needs(STEREO, stereo=True)


@dataclass(frozen=True)
class EvalOptions:
    """Score a system on a bag with voxel truth.

    Attributes:
        system: System to score.
        bag: Bag with images and voxel truth.
        weights: Converted weights; empty = random.
        preset: Size of the network.
        device: Where the network runs.
        precision: Of the network.
        live: Start the real node and play the bag into it; also tells its latency and drops.
        wait: With --live: play at the node's pace instead of the bag's, so that nothing is dropped.
        predictions: Score these files (SemanticKITTI submission, one sequence) instead of a
            network. Files are named by the number of the left image in the bag.
        truth: Topic of the truth.
        frames: At most so many frames, evenly spread; 0 = all.
        shuffle: Control: give the network the images of another frame. It must fall to the floor.
        output: Folder for the report; empty = only a table.
        submission: Also write the predictions in the benchmark's files to this folder.
        sequence: Name of the sequence in a submission.
        worst: Number of worst frames to draw.
    """

    system: Positional[str]
    bag: Positional[Path]
    weights: Path | None = None
    preset: str = "published"
    device: str = "cpu"
    precision: Precision = "fp32"
    live: bool = False
    wait: bool = True
    predictions: Path | None = None
    truth: str = ""
    frames: int = 0
    shuffle: bool = False
    output: Path | None = None
    submission: Path | None = None
    sequence: str = "08"
    worst: int = 3


def main(arguments: Sequence[str]) -> int:
    """Run `occ eval`."""
    given = list(arguments) or ["--help"]
    options = tyro.cli(EvalOptions, prog="occ eval", description=DESCRIPTION, args=given)
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="occ-eval-") as scratch:
        document = run(options, Path(scratch), console)
    return 0 if any(r["iou"] is not None for r in document["ranges_m"].values()) else NO_SCORE


def run(options: EvalOptions, scratch: Path, console: Console) -> dict[str, Any]:
    """Score, print, write.

    Raises:
        OccError: Bag, weights or predictions cannot be used.
    """
    _check(options)
    truth = VoxelTopic(options.bag, options.truth, truth=True)
    latency = None
    if options.live:
        predict, latency = live_predictions(options, scratch / "live", console)
    else:
        predict = offline_predictions(options, truth)
    stamps = _chosen(truth.stamps_ns, options.frames)
    if options.shuffle:
        predict = shuffled(predict, stamps)
    if options.submission is not None:
        predict = _written(predict, options, truth)
    evaluation = scored(truth, predict, stamps, options.device, console)
    document = as_document(evaluation, about(options), latency)
    show(document, console)
    if options.output is not None:
        write_report(document, truth, predict, options, console)
    return document


def _check(options: EvalOptions) -> None:
    if options.predictions is not None and (options.live or options.weights or options.shuffle):
        raise ConfigError("--predictions are scored as they are: no --live, --weights, --shuffle")
    if options.live and options.shuffle:
        raise ConfigError("--shuffle is a control of the network: score it without --live")


def about(options: EvalOptions) -> dict[str, Any]:
    """What was scored, in words."""
    way = "predictions" if options.predictions else "live" if options.live else "offline"
    weights = options.weights.name if options.weights else "random"
    return {
        "system": options.system,
        "bag": options.bag.name,
        "way": way,
        "weights": str(options.predictions) if options.predictions else weights,
        "preset": options.preset,
        "device": options.device,
        "precision": options.precision,
        "shuffled images": options.shuffle,
    }


def offline_predictions(options: EvalOptions, truth: VoxelTopic) -> Predict:
    """Answers of a network in this process, or from files."""
    if options.predictions is not None:
        return _file_predictions(options, truth)
    from occ_perception.systems.catalog import build_system
    from occ_perception.weights.load import load_weights

    system = build_system(
        options.system,
        preset=options.preset,
        device=options.device,
        precision=options.precision,
        grid_frame=truth.grid.frame_id,
    )
    if options.weights is not None:
        load_weights(system.network, options.weights, options.system)
    return system_predictions(system, BagFrames(options.bag, system.needs, system.grid.frame_id))


def _file_predictions(options: EvalOptions, truth: VoxelTopic) -> Predict:
    files = find_predictions(options.predictions)
    numbers = _frame_numbers(options.bag, truth)
    protocol = find_protocol(truth.label_map.name)

    def predict(stamp_ns: int) -> np.ndarray | None:
        path = files.get(numbers.get(stamp_ns, -1))
        return None if path is None else read_prediction(path, truth.grid.shape, protocol)

    return predict


def _frame_numbers(bag: Path, truth: VoxelTopic) -> dict[int, int]:
    """Number of the left image of each stamp."""
    stamps = BagFrames(bag, PAIR, truth.grid.frame_id).stamps_ns
    return {stamp_ns: number for number, stamp_ns in enumerate(stamps)}


def _written(predict: Predict, options: EvalOptions, truth: VoxelTopic) -> Predict:
    """The same answers, written to files as they come."""
    numbers = _frame_numbers(options.bag, truth)
    protocol = find_protocol(truth.label_map.name)

    def written(stamp_ns: int) -> np.ndarray | None:
        labels = predict(stamp_ns)
        if labels is not None:
            path = prediction_file(options.submission, options.sequence, numbers[stamp_ns])
            write_prediction(path, labels, protocol)
        return labels

    return written


def live_predictions(
    options: EvalOptions, recording: Path, console: Console
) -> tuple[Predict, Latency | None]:
    """Answers of the real node to the replayed bag, and how long they took.

    Raises:
        OccError: A process failed, or the node published nothing.
    """
    from occ_perception.commands.running import run_bag
    from occ_perception.commands.summary import summarize
    from occ_perception.ros.launch_plan import LaunchArguments

    weights = str(options.weights.resolve()) if options.weights else ""
    arguments = LaunchArguments(
        bag=str(options.bag), preset=options.preset, weights=weights, device=options.device,
        output=str(recording), wait=options.wait,
    )  # fmt: skip
    run_bag(options.system, arguments, console)
    summary = summarize(recording)
    latency = Latency.of(summary.stages.get("total", []), summary.dropped)
    return stored_predictions(VoxelTopic(recording, truth=False)), latency


def scored(
    truth: VoxelTopic, predict: Predict, stamps: Sequence[int], device: str, console: Console
) -> Evaluation:
    """Score with a bar."""
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=len(stamps))

        def progress(done: int) -> None:
            bar.update(task, completed=done)

        return evaluate(truth, predict, stamps_ns=stamps, device=device, progress=progress)


def show(document: dict[str, Any], console: Console) -> None:
    """Print the tables."""
    what = document["about"]
    title = f"{what['system']} ({what['weights']}, {what['way']}) on {what['bag']}"
    table = Table(title=f"{title}, {document['frames']} frames", title_justify="left")
    for name in ("range", "IoU %", "precision %", "recall %", "mIoU %"):
        table.add_column(name, justify="right")
    for row in summary_rows(document):
        table.add_row(*row)
    console.print(table)
    classes = Table(title="IoU % per class", title_justify="left")
    for name in ("class", *(f"{r} m" for r in document["ranges_m"])):
        classes.add_column(name, justify="left" if name == "class" else "right")
    for row in class_rows(document):
        classes.add_row(*row)
    console.print(classes)
    if document["missing"]:
        console.print(f"[yellow]{len(document['missing'])} frames have no prediction[/]")
    if document["latency"]:
        times = {k: v for k, v in document["latency"].items() if k.endswith("_s")}
        text = "  ".join(f"{k.removesuffix('_s')} {1e3 * v:.0f} ms" for k, v in times.items())
        dropped = sum(document["latency"]["dropped"].values())
        console.print(f"latency: {text}; dropped {dropped}")


def write_report(
    document: dict[str, Any], truth: VoxelTopic, predict: Predict, options: EvalOptions,
    console: Console,
) -> None:  # fmt: skip
    """The folder with report.json and pictures."""
    from occ_perception.commands.eval_pictures import draw_bars, draw_confusion, draw_worst

    folder = options.output
    write_document(folder / "report.json", document)
    draw_bars(document, truth.label_map, folder / "classes.png")
    draw_confusion(document, truth.label_map, folder / "confusion.png")
    frames = BagFrames(options.bag, PAIR, truth.grid.frame_id)
    draw_worst(document, truth, predict, frames, folder, options.worst)
    console.print(f"report: {folder / 'report.json'}")


def _chosen(stamps_ns: Sequence[int], count: int) -> list[int]:
    if not 0 < count < len(stamps_ns):
        return list(stamps_ns)
    rows = np.linspace(0, len(stamps_ns) - 1, count).round().astype(int)
    return [stamps_ns[row] for row in rows]
