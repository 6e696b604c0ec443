"""Answers as files: written while they are scored, and read to be scored again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from occ_perception.core.errors import ConfigError, PredictionError
from occ_perception.core.types import Prediction
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.protocols import PROTOCOLS, find_protocol
from occ_perception.eval.scoring import Answers, Place
from occ_perception.eval.submission import (
    find_predictions,
    prediction_file,
    read_prediction,
    write_prediction,
)
from occ_perception.eval.voxel_truth import VoxelTopic
from occ_perception.systems.base import Needs

Labels = npt.NDArray[np.uint8]
Read = Callable[[int], Labels | None]
ARRAY = "arr_0"  # as the publications name it


def kept(answers: Answers, frames: Sequence[BagFrames], folder: Path, sequence: str) -> Answers:
    """The same answers, written to files as they come.

    SemanticKITTI's classes are written as its submission, named by the number of the image; all
    others as `STAMP.npz`, uint8 ids in C order of [x, y, z].

    Args:
        answers: The answers.
        frames: Of the bags.
        folder: Where the files go.
        sequence: Name of the sequence in a submission.
    """
    truths = [VoxelTopic(source.bag, truth=True) for source in frames]
    numbers = [{stamp: n for n, stamp in enumerate(source.stamps_ns)} for source in frames]

    def written(place: Place) -> Prediction | None:
        prediction = answers(place)
        if prediction is None:
            return None
        labels = prediction.labels.cpu().numpy()
        protocol = PROTOCOLS.get(truths[place.bag].label_map.name)
        if protocol is not None and protocol.raw_ids:
            path = prediction_file(folder, sequence, numbers[place.bag][place.stamp_ns])
            write_prediction(path, labels, protocol)
        else:
            name = f"{place.stamp_ns}.npz"
            path = folder / name if len(frames) == 1 else folder / frames[place.bag].bag.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, **{ARRAY: labels})
        return prediction

    return written


def saved_files(
    folder: Path, bag: Path, roles: Sequence[str], truth: VoxelTopic, topics: Sequence[str] = ()
) -> Read:
    """Reads answers by stamp from files.

    Args:
        folder: Files `STAMP.npz`, or SemanticKITTI's of one sequence.
        bag: The bag that was answered.
        roles: Cameras of the system.
        truth: For shape and ids.
        topics: Image topics of the cameras; empty = found in the bag.

    Raises:
        ConfigError: There are no such files, or several sequences.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder} with predictions")
    stamped = {int(p.stem): p for p in folder.glob("*.npz") if p.stem.isdecimal()}
    if stamped:
        return lambda stamp: _read_npz(stamped.get(stamp), truth)
    files = find_predictions(folder)
    protocol = find_protocol(truth.label_map.name)
    source = BagFrames(bag, Needs(tuple(roles)), truth.grid.frame_id, topics)
    numbers = {stamp_ns: number for number, stamp_ns in enumerate(source.stamps_ns)}

    def read(stamp_ns: int) -> Labels | None:
        path = files.get(numbers.get(stamp_ns, -1))
        return None if path is None else read_prediction(path, truth.grid.shape, protocol)

    return read


def _read_npz(path: Path | None, truth: VoxelTopic) -> Labels | None:
    if path is None:
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            labels = archive[ARRAY]
    except (OSError, ValueError, KeyError) as error:
        raise PredictionError(f"'{path}' holds no array '{ARRAY}' of voxels ({error})") from None
    if labels.shape != truth.grid.shape or labels.dtype != np.uint8:
        raise PredictionError(
            f"'{path}' holds {labels.dtype}{labels.shape}, the truth is uint8{truth.grid.shape}"
        )
    return labels
