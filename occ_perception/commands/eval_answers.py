"""Where the answers come from that `occ eval` scores: a network, a live node, files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from occ_perception.bags.rigs import by_role
from occ_perception.commands.eval_submission import saved_files
from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import LabelMap
from occ_perception.core.types import Prediction
from occ_perception.eval.bag_frames import SAME_INSTANT_NS, BagFrames
from occ_perception.eval.report import Latency
from occ_perception.eval.scoring import Answers, Place, Scorer, system_answers
from occ_perception.eval.voxel_truth import VoxelTopic
from occ_perception.systems.base import Needs, Precision
from occ_perception.systems.roles import ROLES


@dataclass(frozen=True)
class Asked:
    """What was asked for; see the options of the command."""

    system: str
    bags: tuple[Path, ...]
    weights: str
    preset: str
    device: str
    precision: Precision
    prompts: tuple[str, ...]
    embeddings: str
    live: bool
    wait: bool
    predictions: Path | None
    benchmarks: tuple[str, ...]
    truth: str
    cameras: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Source:
    """Answers, and what has to be known to score them.

    Attributes:
        way: "offline", "live" or "predictions".
        weights: Of what, for the report.
        labels: Meaning of the ids in the answers.
        needs: Cameras of the system.
        grid_frame: Frame of the voxels.
        answers: From the bags and benchmarks to a function that answers.
        latency: How long a live node took.
        system: The system itself where it runs in this process.
    """

    way: str
    weights: str
    labels: LabelMap
    needs: Needs
    grid_frame: str
    answers: Callable[[Sequence[BagFrames], Sequence[Scorer]], Answers]
    latency: Latency | None = None
    system: Any = field(default=None)

    @property
    def is_network(self) -> bool:
        """Whether a network answers, in this process."""
        return self.way == "offline"


def find_source(asked: Asked, scratch: Path, console: Console) -> Source:
    """Where the answers come from.

    Raises:
        OccError: Weights, predictions or words cannot be used, or the node failed.
    """
    if asked.predictions is not None:
        return saved(asked)
    return live(asked, scratch / "live", console) if asked.live else offline(asked, console)


def offline(asked: Asked, console: Console) -> Source:
    """A network in this process."""
    from occ_perception.systems.catalog import build_system
    from occ_perception.weights.load import load_weights
    from occ_perception.weights.shipped import chosen_weights

    system = build_system(
        asked.system, preset=asked.preset, device=asked.device, precision=asked.precision,
        grid_frame=truth_frame(asked),
    )  # fmt: skip
    weights = chosen_weights(asked.weights, asked.system, asked.preset)
    if weights is not None:
        load_weights(system.network, weights, asked.system)
    elif not asked.weights:
        console.print("[yellow]no weights: the network is random[/]")
    if system.needs.prompts:
        look_for(system, asked, console)
    name = "random" if weights is None else weights.name

    def answers(frames: Sequence[BagFrames], scorers: Sequence[Scorer]) -> Answers:
        return system_answers(system, frames, frozenset().union(*(s.wanted for s in scorers)))

    frame = system.grid.frame_id
    return Source("offline", name, system.labels, system.needs, frame, answers, system=system)


def look_for(system: Any, asked: Asked, console: Console) -> None:
    """Let a system of words look for the model's vocabulary, or for the words that were given."""
    from occ_perception.text.wording import put_into_force, wordings_of

    wordings = wordings_of(system.config, system.labels.name, asked.embeddings, asked.device)
    wording = wordings.of(asked.prompts)
    if wording.concern:
        console.print(f"[yellow]{wording.concern}[/]")
    put_into_force(system, wording)


def live(asked: Asked, recording: Path, console: Console) -> Source:
    """The real node and a replayed bag.

    Raises:
        OccError: A process failed, or the node published nothing.
    """
    from occ_perception.commands.running import run_bag
    from occ_perception.commands.summary import summarize
    from occ_perception.ros.launch_arguments import LaunchArguments

    file = Path(asked.weights).expanduser()
    arguments = LaunchArguments(
        bag=str(asked.bags[0]), preset=asked.preset, device=asked.device, output=str(recording),
        weights=str(file.resolve()) if file.is_file() else asked.weights, wait=asked.wait,
        prompts=asked.prompts, images=_named(asked),
    )  # fmt: skip
    run_bag(asked.system, arguments, console)
    summary = summarize(recording)
    latency = Latency.of(summary.stages.get("total", []), summary.dropped)
    source = recorded(asked, recording)
    return replace(source, way="live", weights=file.name or "shipped", latency=latency)


def _named(asked: Asked) -> dict[str, str]:
    """Image topics by role, where they were named."""
    return by_role(ROLES[asked.system], asked.cameras) if asked.cameras else {}


def saved(asked: Asked) -> Source:
    """Answers that were kept: a bag of a node's voxels, or files."""
    folder = asked.predictions
    if (folder / "metadata.yaml").is_file():
        return recorded(asked, folder)
    truth = VoxelTopic(asked.bags[0], asked.truth, truth=True)
    read = saved_files(folder, asked.bags[0], ROLES[asked.system], truth, asked.cameras)
    return _stored(asked, str(folder), truth.grid, truth.label_map, read)


def recorded(asked: Asked, recording: Path) -> Source:
    """The voxels that a node has published into a recording."""
    topic = VoxelTopic(recording, truth=False)

    def read(stamp_ns: int) -> Any:
        return topic.at(stamp_ns, SAME_INSTANT_NS)

    return _stored(asked, str(recording), topic.grid, topic.label_map, read)


def _stored(
    asked: Asked, name: str, grid: GridSpec, labels: LabelMap, read: Callable[[int], Any]
) -> Source:
    def answer(place: Place) -> Prediction | None:
        ids = read(place.stamp_ns)
        if ids is None:
            return None
        volume = torch.from_numpy(ids)
        return Prediction(volume, grid, place.stamp_ns, known=volume != labels.unknown_id)

    needs = Needs(ROLES[asked.system])
    return Source("predictions", name, labels, needs, grid.frame_id, lambda frames, scorers: answer)


def truth_frame(asked: Asked) -> str | None:
    """Frame of the voxel truth of the first bag; None where no voxels are scored."""
    from occ_perception.eval.benchmarks import WITHOUT_VOXELS

    if set(asked.benchmarks) <= WITHOUT_VOXELS:
        return None
    return VoxelTopic(asked.bags[0], asked.truth, truth=True).grid.frame_id
