"""`occ eval`: score a system on bags with truth."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tyro.conf import Positional, arg

from occ_perception.commands.camera_options import cameras_option, unclear_cameras
from occ_perception.commands.eval_answers import Asked, Source, find_source
from occ_perception.commands.eval_benchmarks import ABOUT_BENCHMARKS
from occ_perception.commands.eval_floors import floor_scores
from occ_perception.commands.eval_report import show, write_report
from occ_perception.commands.eval_retrieval import retrieval_scores
from occ_perception.commands.eval_submission import kept
from occ_perception.core.errors import ConfigError
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.benchmarks import BENCHMARKS, OF_SYSTEM, WITHOUT_VOXELS, benchmarks
from occ_perception.eval.report import as_document, is_scored
from occ_perception.eval.scoring import (
    Outcome,
    Place,
    Scorer,
    chosen,
    find_places,
    of_other_places,
    score,
)
from occ_perception.systems.base import Needs, Precision
from occ_perception.systems.catalog import find_system
from occ_perception.systems.roles import ROLES

DESCRIPTION = f"""Score a system on bags with truth, three ways.

Examples:
  occ eval vlscene world/val_2000 --weights nano.safetensors --preset nano
  occ eval vlscene world/val_2000 --weights nano.safetensors --preset nano --live
  occ eval vlscene world/val_2000 --predictions submission/sequences/08/predictions
  occ eval langocc world/val/* --preset nano --benchmarks occ3d rayiou --output report
  occ eval langocc world/val/* --preset nano --queries world/val/retrieval
  occ eval vipocc world/val/* --preset nano --shuffle     (control: other places' images)

Benchmarks:
{ABOUT_BENCHMARKS}

What comes out: a table, and with --output a folder with report.json, classes.png, confusion.png
and pictures of the worst frames.

Exit code: 0 = scored, 1 = the truth knows nothing: no score, 2 = refused."""

NO_SCORE = 1


@dataclass(frozen=True)
class EvalOptions:
    """Score a system on bags with truth.

    Attributes:
        system: vlscene, vipocc, scenedino, langocc or gaussianflowocc.
        bags: Bags with images and truth, each a drive of its own.
        weights: Converted weights, a .safetensors file; empty = those shipped for the preset,
            "random" = none.
        preset: Size of the network: published, nano or another one of the system's.
        benchmarks: What to score, see above; empty = what the system's publication reports.
        device: Where the network runs: cpu, or cuda:0 and the like.
        precision: Of the network's numbers.
        prompts: For langocc: words to look for, with commas between; empty = the vocabulary of the
            preset. Voxels that none of them fits are "something else".
        embeddings: For langocc: .safetensors file with vectors of words; empty = the shipped ones,
            else the text encoder.
        live: Start the real node and play the bag into it (needs ROS 2); also tells its latency and
            drops.
        wait: With --live: play at the node's pace instead of the bag's, so that nothing is dropped.
        predictions: Score these instead of a network: a bag with a node's voxels, a folder of .npz
            files named by stamp in nanoseconds (--submission writes them), or SemanticKITTI's
            submission of one sequence, named by the number of the first camera's image.
        truth: Topic of the voxel truth; empty = the only one.
        cameras: Image topics of the system's cameras, in the order of its roles (vlscene: left,
            then right); empty = found in the bags. Needed where a bag has several stereo pairs.
        frames: At most so many frames, evenly spread; of systems with a memory the first of each
            bag; 0 = all.
        queries: For langocc: folder of a retrieval benchmark in POP-3D's layout with queries about
            these bags (`occ convert nuscenes --retrieval` says where its scans are); voxels are
            then scored only where --benchmarks names some.
        floors: .npz file of `occ floors --output`: also score answers that need no eyes, in the
            benchmarks of voxels.
        shuffle: Control: show the system the images of other places. It must fall to the floor.
        output: Folder for the report; empty = only a table.
        submission: Also keep the answers as files in this folder.
        sequence: With --submission: name of SemanticKITTI's sequence.
        worst: With --output: number of worst frames to draw.
    """

    system: Annotated[Positional[str], arg(metavar="SYSTEM")]
    bags: Annotated[Positional[tuple[Path, ...]], arg(metavar="BAG...")]
    weights: str = ""
    preset: str = "published"
    benchmarks: tuple[str, ...] = ()
    device: str = "cpu"
    precision: Precision = "fp32"
    prompts: tuple[str, ...] = ()
    embeddings: str = ""
    live: bool = False
    wait: bool = True
    predictions: Path | None = None
    truth: str = ""
    cameras: tuple[str, ...] = ()
    frames: int = 0
    queries: Path | None = None
    floors: Path | None = None
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
    return 0 if is_scored(document) else NO_SCORE


def run(options: EvalOptions, scratch: Path, console: Console) -> dict[str, Any]:
    """Score, print, write.

    Raises:
        OccError: Bags, weights or predictions cannot be used.
    """
    _check(options)
    with unclear_cameras(cameras_option(ROLES[options.system])):
        source = find_source(_asked(options), scratch, console)
        frames, outcome = _frames(options, source), Outcome()
    if options.benchmarks or options.queries is None:
        outcome = _scored(options, source, frames, console)
    if options.queries is not None:
        given = (source.system, options.bags, options.queries, options.embeddings, options.device)
        asked = {"shuffle": options.shuffle, "topics": options.cameras}
        outcome.scores |= retrieval_scores(*given, **asked)
    document = as_document(outcome, options.bags, about(options, source), source.latency)
    show(document, console)
    if options.output is not None:
        write_report(document, outcome, frames, source.labels, options.output, options.truth)
        console.print(f"report: {options.output / 'report.json'}")
    return document


def _scored(
    options: EvalOptions, source: Source, frames: Sequence[BagFrames], console: Console
) -> Outcome:
    """Score the answers on voxels and depth."""
    scorers = benchmarks(options.system, source, options.benchmarks, options.truth)
    places = chosen(find_places(frames, scorers), options.frames, in_order=source.needs.history > 0)
    answers = source.answers(frames, scorers)
    if options.shuffle:
        answers = of_other_places(answers, places)
    if options.submission is not None:
        answers = kept(answers, frames, options.submission, options.sequence)
    outcome = scored(answers, places, frames, scorers, options.worst, console)
    if options.floors is not None:
        names = [n for n in _names(options) if n not in WITHOUT_VOXELS]
        outcome.floors = floor_scores(
            options.floors, places, frames,
            lambda: benchmarks(options.system, source, names, options.truth), options.truth,
        )  # fmt: skip
    return outcome


def _names(options: EvalOptions) -> tuple[str, ...]:
    return options.benchmarks or OF_SYSTEM[options.system]


def _check(options: EvalOptions) -> None:
    find_system(options.system)
    unknown = set(options.benchmarks) - set(BENCHMARKS)
    if unknown:
        raise ConfigError(
            f"unknown benchmark '{unknown.pop()}'; available: {', '.join(BENCHMARKS)}"
        )
    if options.predictions is not None and (options.live or options.weights or options.shuffle):
        raise ConfigError("--predictions are scored as they are: no --live, --weights, --shuffle")
    if options.live and options.shuffle:
        raise ConfigError("--shuffle is a control of the network: score it without --live")
    if not options.bags:
        raise ConfigError("name at least one bag with truth")
    if len(options.bags) > 1 and (options.live or options.predictions is not None):
        raise ConfigError("a live node, and predictions, are scored on one bag at a time")


def words_of(given: Sequence[str]) -> tuple[str, ...]:
    """Prompts, with commas between or each an argument of its own."""
    words = (word.strip() for text in given for word in text.split(","))
    return tuple(word for word in words if word)


def _asked(options: EvalOptions) -> Asked:
    return Asked(
        options.system, options.bags, options.weights, options.preset, options.device,
        options.precision, words_of(options.prompts), options.embeddings, options.live,
        options.wait, options.predictions, tuple(_names(options)), options.truth,
        options.cameras,
    )  # fmt: skip


def _frames(options: EvalOptions, source: Source) -> list[BagFrames]:
    """The bags' images; where answers are there already, the vehicle's motion is not needed."""
    roles = ROLES[options.system]
    needs = source.needs if source.is_network else Needs(roles)
    return [BagFrames(bag, needs, source.grid_frame, options.cameras) for bag in options.bags]


def about(options: EvalOptions, source: Source) -> dict[str, Any]:
    """What was scored, in words."""
    return {
        "system": options.system,
        "bags": [bag.name for bag in options.bags],
        "way": source.way,
        "weights": source.weights,
        "preset": options.preset,
        "device": options.device,
        "precision": options.precision,
        "shuffled images": options.shuffle,
        **({"cameras": list(options.cameras)} if options.cameras else {}),
    }


def scored(
    answers: Any, places: Sequence[Place], frames: Sequence[BagFrames],
    scorers: Sequence[Scorer], worst: int, console: Console,
) -> Outcome:  # fmt: skip
    """Score with a bar."""
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=len(places))

        def progress(done: int) -> None:
            bar.update(task, completed=done)

        return score(answers, places, frames, scorers, progress, worst)
