"""What a prediction without sight scores: floors that a trained model has to beat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from occ_perception.core.grid import GridSpec
from occ_training.world.classes import COUNT, GROUND, IGNORED
from occ_training.world.frames import Frame
from occ_training.world.masks import grid_points
from occ_training.world.scene import Scene
from occ_training.world.teachers import pseudo_depth

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Floor:
    """Score of one floor over a set.

    Attributes:
        name: What was predicted.
        iou: Occupied against free, over known voxels; NaN where nothing is known.
        miou: Mean over the classes that occur in the truth.
    """

    name: str
    iou: float
    miou: float


def score(name: str, predictions: Iterable[Labels], truths: Iterable[Labels]) -> Floor:
    """IoU and mIoU over voxels whose truth is known; internal ids, counts summed over the set."""
    confusion = np.zeros((COUNT, COUNT))
    for prediction, truth in zip(predictions, truths, strict=True):
        known = truth != IGNORED
        pair = truth[known].astype(np.int64) * COUNT + prediction[known]
        confusion += np.bincount(pair, minlength=COUNT**2).reshape(COUNT, COUNT)
    solid = confusion[1:, 1:].sum()
    union = confusion.sum() - confusion[0, 0]
    both = np.diag(confusion)[1:]
    either = confusion[1:].sum(1) + confusion[:, 1:].sum(0) - both
    occurs = confusion[1:].sum(1) > 0
    iou = solid / union if union else float("nan")
    miou = (both[occurs] / either[occurs]).mean() if occurs.any() else float("nan")
    return Floor(name, float(iou), float(miou))


class BlindGuess:
    """What the truth of a training set tells about a place that nobody looked at.

    Args:
        grid: Where the voxels are.
        ground_m: Height of the ground under the car in the grid's frame.
        ground: Ids of the classes that ground can have.
        classes: Number of ids.
        free_id: Id of empty space.
    """

    def __init__(
        self,
        grid: GridSpec,
        ground_m: float,
        ground: Sequence[int] = GROUND,
        classes: int = COUNT,
        free_id: int = 0,
    ) -> None:
        self.free_id = free_id
        self._shape, self._ground = grid.shape, np.array(ground)
        self._layer = int((ground_m - grid.origin_m[2]) / grid.voxel_size_m[2])
        x, y = np.meshgrid(*(grid.axis_centers(a) for a in (0, 1)), indexing="ij")
        self._ring = (np.hypot(x, y) / 2.0).astype(np.int64)
        self._counts = np.zeros((classes, grid.count), dtype=np.uint16)
        self._ground_counts = np.zeros((self._ring.max() + 1, classes))

    def add(self, truth: Labels) -> None:
        """Learn a frame."""
        flat = truth.ravel()
        known = np.flatnonzero(flat != IGNORED)
        self._counts[flat[known], known] += 1
        slab = truth[:, :, self._layer]
        is_ground = np.isin(slab, self._ground)
        np.add.at(self._ground_counts, (self._ring[is_ground], slab[is_ground]), 1)

    def mean_map(self) -> Labels:
        """Most frequent known label of every voxel."""
        frequent = self._counts.argmax(0).astype(np.uint8)
        frequent[self._counts.max(0) == 0] = self.free_id
        return frequent.reshape(self._shape)

    def best_map(self) -> Labels:
        """The mean map with more voxels occupied: those whose share gives the best IoU in training.

        What most frames call free is free in the mean map, although a bet on less than a half pays:
        this is what a network can score that learns the place of things but never looks.
        """
        occupied = self._counts[1:].sum(0, dtype=np.int64)
        free = self._counts[0].astype(np.int64)
        share = occupied / np.maximum(occupied + free, 1)
        cuts = np.linspace(0.02, 0.6, 30)
        ious = [occupied[share > c].sum() / (occupied.sum() + free[share > c].sum()) for c in cuts]
        label = 1 + self._counts[1:].argmax(0)
        best = np.where(share > cuts[int(np.argmax(ious))], label, 0)
        return best.astype(np.uint8).reshape(self._shape)

    def flat_ground(self) -> Labels:
        """A plane under the car, its class the most frequent ground of each distance."""
        counts = self._ground_counts.copy()
        counts[:, self._ground] += 1e-3 * (self._ground_counts[:, self._ground].sum(0) + 1)
        out = np.full(self._shape, self.free_id, dtype=np.uint8)
        out[:, :, self._layer] = counts.argmax(1)[self._ring]
        return out


def unprojected_depth(scene: Scene, frame: Frame) -> Labels:
    """The depth stand-in carried into the grid, each pixel with its true class."""
    grid = scene.rig.grid
    out = np.zeros(grid.shape, dtype=np.uint8)
    for picture in frame.pictures.values():
        depth = pseudo_depth(scene, picture)
        v, u = np.nonzero((depth > 0) & picture.surface)
        ray, _ = picture.camera.lens.rays(np.stack((u, v), -1).astype(np.float64))
        local = ray * (depth[v, u] / ray[:, 2])[:, None]
        T = picture.T_world_cam
        points = grid_points(frame.voxels.T_world_grid, local @ T[:3, :3].T + T[:3, 3])
        index, inside = grid.index_of(points)
        out[tuple(index[inside].T)] = picture.class_id[v, u][inside]
    return out


def floors(scene: Scene, frames: Sequence[Frame], training: Sequence[Labels]) -> tuple[Floor, ...]:
    """The four voxel floors of a scene's frames against sensed truth.

    Args:
        scene: The scene of `frames`.
        frames: Frames with voxels.
        training: Sensed labels of training scenes with the same grid.
    """
    truths = [f.voxels.sensed.labels for f in frames]
    empty = np.zeros_like(truths[0])
    guess = BlindGuess(scene.rig.grid, -scene.rig.T_base_grid[2, 3])
    for labels in training:
        guess.add(labels)
    answers = {
        "all free": [empty] * len(frames),
        "mean map of the training set": [guess.mean_map()] * len(frames),
        "flat ground": [guess.flat_ground()] * len(frames),
        "depth stand-in unprojected": [unprojected_depth(scene, f) for f in frames],
    }
    return tuple(score(name, guesses, truths) for name, guesses in answers.items())
