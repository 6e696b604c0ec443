"""The small test sets: POP-3D's retrieval benchmark, Cityscapes, BDD100K, RealEstate10K."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from occ_perception.geometry.transforms import Matrix, inverse
from occ_training.convert.trees.files import write_jpeg, write_lines, write_png

# Cityscapes label id -> train id (255 = ignored), of the 34 labels that are not negative.
# fmt: off
CITYSCAPES_TRAIN = np.array([
    255, 255, 255, 255, 255, 255, 255, 0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9,
    10, 11, 12, 13, 14, 15, 255, 255, 16, 17, 18,
], np.uint8)
# Train id -> category of BDD100K's panoptic bitmasks; 0 = unlabelled.
BDD_CATEGORY = np.array([
    7, 8, 10, 15, 11, 20, 25, 26, 29, 28, 30, 31, 32, 35, 40, 34, 39, 37, 33,
], np.uint8)
# fmt: on


@dataclass(frozen=True, eq=False)
class Retrieval:
    """One question of the retrieval benchmark.

    Attributes:
        token: Of the key frame whose LIDAR_TOP sweep is asked about.
        text: What is looked for.
        hit: `[n]` bool per point, in the order of the sweep.
        visible: `[m]` indices of points that a camera sees.
    """

    token: str
    text: str
    hit: npt.NDArray[np.bool_]
    visible: npt.NDArray[np.int64]


def write_retrieval(root: Path, split: str, questions: Sequence[Retrieval]) -> None:
    """`retrieval_anns_SPLIT.csv` with the two folders of arrays; a frame may be asked about twice.

    Args:
        root: Folder of the benchmark.
        split: "train", "val" or "test"; the lines are written to that list and to "all".
        questions: In the order of the lines.
    """
    for folder in ("annotations", "matching_points"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    lines = []
    for number, question in enumerate(questions):
        name = f"{question.token}_{number}" if number else question.token
        annotation = f"annotations/{name}__retrieval.npy"
        points = f"matching_points/{name}__points.npy"
        np.save(root / annotation, question.hit.astype(np.int64))
        np.save(root / points, question.visible)
        lines.append(";".join((question.token, split, annotation, points, question.text)))
    write_lines(root / f"retrieval_anns_{split}.csv", lines)
    everything = root / "retrieval_anns_all.csv"
    known = everything.read_text("utf-8").splitlines() if everything.is_file() else []
    write_lines(everything, [*known, *lines])


def write_cityscapes(
    root: Path,
    split: str,
    place: tuple[str, int, int],
    image: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
    instances: npt.NDArray[np.uint16],
) -> None:
    """One image of Cityscapes with its labels.

    Args:
        root: Folder with leftImg8bit and gtFine.
        split: "train", "val" or "test".
        place: City, sequence and frame number.
        image: `[H, W, 3]` RGB.
        labels: `[H, W]` label ids 0..33.
        instances: `[H, W]` label * 1000 + instance, or the label where there is none.
    """
    city, sequence, frame = place
    name = f"{city}_{sequence:06d}_{frame:06d}"
    write_png(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", image)
    folder = root / "gtFine" / split / city
    write_png(folder / f"{name}_gtFine_labelIds.png", labels)
    write_png(folder / f"{name}_gtFine_instanceIds.png", instances)


def write_bdd100k(
    root: Path, split: str, name: str, image: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]
) -> None:
    """One image of BDD100K with its train-id mask and its panoptic bitmask.

    Args:
        root: Folder with images and labels.
        split: "train" or "val".
        name: Of the image, without suffix.
        image: `[H, W, 3]` RGB.
        labels: `[H, W]` Cityscapes label ids.
    """
    train = CITYSCAPES_TRAIN[labels]
    write_jpeg(root / "images" / "10k" / split / f"{name}.jpg", image)
    write_png(root / "labels" / "sem_seg" / "masks" / split / f"{name}.png", train)
    known = train != 255
    category = np.where(known, BDD_CATEGORY[np.where(known, train, 0)], 0).astype(np.uint8)
    write_png(root / "labels" / "pan_seg" / "bitmasks" / split / f"{name}.png", bitmask(category))


def bitmask(category: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """`[H, W, 4]` RGBA with the category in the first channel."""
    other = np.zeros_like(category)
    return np.stack([category, other, other, other], axis=-1)


def write_realestate10k(
    root: Path,
    split: str,
    clip: str,
    K: Matrix,
    frames: Sequence[tuple[int, Matrix, npt.NDArray[np.uint8]]],
) -> None:
    """One clip: a line of 19 numbers per frame, and the frames themselves.

    Args:
        root: Folder with one folder per split, and frames.
        split: "train" or "test".
        clip: 16 hex digits.
        K: `[3, 3]` intrinsics, pixels, pixel centres at integers.
        frames: Time in microseconds, `T_world_cam` and `[H, W, 3]` RGB.
    """
    height, width = frames[0][2].shape[:2]
    size = np.array([width, height])
    centre = (K[:2, 2] + 0.5) / size  # their origin is the corner of the image
    intrinsics = [K[0, 0] / width, K[1, 1] / height, *centre, 0.0, 0.0]
    lines = ["https://example.invalid/procedural-world"]
    for time_us, T_world_cam, image in frames:
        values = [*intrinsics, *inverse(T_world_cam)[:3].ravel()]
        lines.append(" ".join([str(time_us), *(f"{v:.9f}" for v in values)]))
        write_jpeg(root / "frames" / split / clip / f"{time_us}.jpg", image)
    write_lines(root / split / f"{clip}.txt", lines)
