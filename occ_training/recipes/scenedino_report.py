"""Class scores of trained SceneDINO weights beside everything that they have to beat.

Geometry is scored by `occ eval`, by the same benchmark as ViPOcc's.

python -m occ_training.recipes.scenedino_report --weights W --train TRAIN/* --val VAL/* --out R
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import tyro
from jaxtyping import Bool, Int
from rich.console import Console
from rich.table import Table
from torch import Tensor

from occ_perception.core.errors import BagError
from occ_perception.core.types import FrameSet
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.sscbench import CLASSES as CLASS_COUNT
from occ_perception.eval.sscbench import (
    GRID,
    RANGES_M,
    SscBenchMetric,
    SscBenchResult,
    labels_of_raw,
)
from occ_perception.eval.voxel_occupancy import INVALID
from occ_perception.systems.base import Context
from occ_perception.systems.scenedino.config import SceneDinoConfig
from occ_perception.systems.scenedino.system import SceneDinoSystem
from occ_perception.weights.load import load_weights
from occ_training.data.bag_scene import Bags, BagScene, SampleSpec
from occ_training.data.field_views import STEREO
from occ_training.data.posed_pictures import CLASSES, DEPTH, Picture, PictureDrives, PictureSpec
from occ_training.data.samples import Voxels
from occ_training.labels.toy_patches import ToyPatchNetwork
from occ_training.recipes.scenedino_baseline import PatchClusters
from occ_training.world.floors import BlindGuess
from occ_training.world.rigs import VELODYNE_HEIGHT_M

VOXELS = "/ground_truth/voxels"
_GROUND = (7, 8, 12)  # road, sidewalk, terrain among the 15 classes
_PICTURE_SIZE, _PATCH = (192, 640), 16  # the baseline sees twice the size of the nano network
Volume = Int[Tensor, "x y z"]


@dataclass(frozen=True)
class ReportOptions:
    """Compare SceneDINO's nano weights with floors, a baseline and shuffled images.

    Attributes:
        weights: Weights of both stages.
        train: Bags that were trained on: floors and baseline learn from them.
        val: Bags that are scored.
        out: JSON file for the scores.
    """

    weights: Path
    train: tuple[Path, ...]
    val: tuple[Path, ...]
    out: Path


class Instant(NamedTuple):
    """One scored frame.

    Attributes:
        frames: Images and calibration.
        truth: The 15 classes, 255 = not known.
        picture: The left image with what is really there, for the baseline.
    """

    frames: FrameSet
    truth: Volume
    picture: Picture


def instants(bags: Sequence[Path], system: SceneDinoSystem) -> Iterator[Instant]:
    """The frames of bags that have voxel truth."""
    for bag in bags:
        source = BagFrames(bag, system.needs, GRID.frame_id)
        spec = PictureSpec(STEREO[:1], _PICTURE_SIZE, (CLASSES, DEPTH))
        drive = PictureDrives([Bags(bag)], spec)
        (scene,) = drive.scenes
        rows = {scene.stamp_ns(row): row for row in scene.anchors.tolist()}
        for stamp_ns, truth in truths(bag).items():
            frames = source.at(stamp_ns)
            if frames is not None and stamp_ns in rows:
                yield Instant(frames, truth, drive.picture(scene, rows[stamp_ns], 0))


def truths(bag: Path) -> dict[int, Int[Tensor, "x y z"]]:
    """Voxel truth of a bag in the 15 classes, by stamp; 255 where it is not known.

    Raises:
        BagError: There is none, or it is on another grid.
    """
    scene = BagScene(Bags(bag), SampleSpec(labels={"voxels": VOXELS}))
    found = {}
    for row in scene.anchors.tolist():
        voxels = scene.label("voxels", row)
        if not isinstance(voxels, Voxels) or voxels.labels is None or voxels.grid != GRID:
            raise BagError(f"bag {bag}: {VOXELS} holds no classes on SSCBench's grid")
        raw = torch.from_numpy(voxels.labels.astype(np.int64))
        if voxels.known is not None:
            raw = raw.masked_fill(~torch.from_numpy(voxels.known), INVALID)
        found[scene.stamp_ns(row)] = labels_of_raw(raw)
    return found


def answered(system: SceneDinoSystem, frames: FrameSet) -> tuple[Volume, Bool[Tensor, "x y z"]]:
    """What the system says of a frame, and the voxels that the camera sees."""
    view = system.preprocess(frames.frames[0])
    answer = system.infer([view], Context(frames.stamp_ns))
    return answer.labels.long().masked_fill(~answer.known, 0), answer.known


def compare(
    system: SceneDinoSystem, train: Sequence[Path], val: Sequence[Path]
) -> dict[str, SscBenchMetric]:
    """Counts of the system and of its rivals over the frames of `val`."""
    guess, pictures = BlindGuess(GRID, -VELODYNE_HEIGHT_M, _GROUND, CLASS_COUNT), []
    for one in instants(train, system):
        guess.add(one.truth.numpy().astype(np.uint8))
        pictures.append(one.picture)
    fixed = {
        name: torch.from_numpy(volume.astype(np.int64))
        for name, volume in (
            ("mean map of the training set", guess.mean_map()),
            ("flat ground", guess.flat_ground()),
        )
    }
    clusters = PatchClusters(ToyPatchNetwork(system.config.feature_channels), _PATCH, pictures)
    scored = list(instants(val, system))
    counts: dict[str, SscBenchMetric] = {}
    for number, one in enumerate(scored):
        volume, seen = answered(system, one.frames)
        # Half the set further lies another drive.
        other = scored[(number + len(scored) // 2) % len(scored)]
        T = one.frames.frames[0].camera.T_base_cam
        guesses = {
            "SceneDINO": volume,
            "SceneDINO, shuffled images": answered(system, other.frames)[0],
            **fixed,
            "k-means on patch features + guessed depth": clusters.voxels(
                one.picture, T, GRID, np.random.default_rng(number)
            ),
        }
        for name, guess in guesses.items():
            counts.setdefault(name, SscBenchMetric(seen)).update(guess, one.truth)
    return counts


def rows(counts: Mapping[str, SscBenchMetric]) -> dict[str, dict[float, SscBenchResult]]:
    """Scores by name and range; classes as told, and matched by the Hungarian method."""
    told = {name: metric.direct() for name, metric in counts.items()}
    return told | {f"{name}, Hungarian": metric.hungarian() for name, metric in counts.items()}


def shown(scores: Mapping[str, Mapping[float, SscBenchResult]]) -> Table:
    """A table of the scores in percent."""
    table = Table("", *(f"mIoU {r:g} m" for r in RANGES_M))
    for name, by_range in scores.items():
        table.add_row(name, *(f"{100 * x.completion.miou:.2f}" for x in by_range.values()))
    return table


def stored(scores: Mapping[str, Mapping[float, SscBenchResult]]) -> str:
    """The scores as JSON."""
    return json.dumps(
        {
            name: {
                f"{r:g} m": {
                    "miou": result.completion.miou,
                    "class_iou": list(map(float, result.completion.class_iou)),
                }
                for r, result in by_range.items()
            }
            for name, by_range in scores.items()
        },
        indent=1,
    )


def main(options: ReportOptions) -> None:
    """Score, print, store."""
    system = SceneDinoSystem(SceneDinoConfig.nano())
    load_weights(system.network, options.weights, "scenedino")
    scores = rows(compare(system, options.train, options.val))
    Console().print(shown(scores))
    options.out.write_text(stored(scores) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(tyro.cli(ReportOptions)))
