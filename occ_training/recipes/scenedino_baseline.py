"""What SceneDINO's classes have to beat: clusters of raw patch features, carried by guessed depth.

No field, no rendering, no training but k-means. The features are those that taught the field.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from occ_perception.core.cityscapes import kitti360_train_ids
from occ_perception.core.grid import GridSpec
from occ_perception.eval.segmentation_metrics import SegmentationMetric, assign_clusters
from occ_perception.eval.sscbench import LABEL_OF_TRAIN_ID
from occ_perception.geometry.rays import centre_grid, directions_through
from occ_perception.geometry.transforms import Matrix
from occ_training.data.field_views import unit_range
from occ_training.data.patches import GridCells, Patches
from occ_training.data.posed_pictures import Picture
from occ_training.labels.patch_features import PatchQuery, PatchTeacher, Surfaces
from occ_training.losses.clustering import nearest_centre, spherical_kmeans
from occ_training.world.teachers import guessed_depth

_CLASSES = 19


class PatchClusters:
    """K-means on patch features of training pictures; labels only name the clusters.

    Args:
        teacher: Gives the features.
        patch: Edge length of a patch, pixels.
        pictures: Training pictures with classes and depth.
        seed: Of the first centres.
    """

    def __init__(
        self, teacher: PatchTeacher, patch: int, pictures: Sequence[Picture], seed: int = 0
    ) -> None:
        self._teacher, self._patch = teacher, patch
        features = [self._features(picture) for picture in pictures]
        random = torch.Generator().manual_seed(seed)
        flat = torch.cat([f.flatten(0, 1) for f in features])
        self.centres = spherical_kmeans(flat, _CLASSES, random)
        metric = SegmentationMetric(_CLASSES)
        for picture, maps in zip(pictures, features, strict=True):
            truth = torch.from_numpy(kitti360_train_ids(picture.classes.numpy()))
            metric.update(self._spread(nearest_centre(maps, self.centres)), truth)
        self.assignment = assign_clusters(metric.confusion)

    def classes(self, picture: Picture) -> Int[Tensor, "h w"]:
        """Train ids of a picture's pixels."""
        clusters = nearest_centre(self._features(picture), self.centres)
        return self._spread(self.assignment[clusters])

    def voxels(
        self, picture: Picture, T_grid_cam: Matrix, grid: GridSpec, rng: np.random.Generator
    ) -> Int[Tensor, "x y z"]:
        """Classes of SSCBench where the depth stand-in puts the pixels, empty elsewhere.

        Args:
            picture: With depth and classes, of which the stand-ins make their guesses.
            T_grid_cam: Pose of the camera in the grid's frame.
            grid: The voxels.
            rng: Errors of the depth stand-in.
        """
        depth = torch.from_numpy(guessed_depth(picture.depth_m.numpy(), rng))
        directions = directions_through(centre_grid(*depth.shape), picture.K)
        seen = depth > 0
        points = (directions * depth[..., None])[seen].double().numpy()
        index, inside = grid.index_of(points @ T_grid_cam[:3, :3].T + T_grid_cam[:3, 3])
        labels = LABEL_OF_TRAIN_ID[self.classes(picture)[seen]]
        volume = torch.zeros(grid.shape, dtype=torch.int64)
        volume[tuple(torch.from_numpy(index[inside]).T)] = labels[torch.from_numpy(inside)]
        return volume

    def _features(self, picture: Picture) -> Float[Tensor, "r k c"]:
        rows, columns = (side // self._patch for side in picture.image.shape[1:])
        row, column = (
            x.flatten()[None]
            for x in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        )
        view = torch.zeros_like(row)
        query = PatchQuery(
            unit_range(picture.image)[None, None],
            picture.K[None, None],
            picture.T_world_cam[None, None],
            GridCells(view, row, column),
            Patches(view, row * self._patch, column * self._patch, self._patch),
            (0, 0),
            Surfaces(picture.classes[None, None], picture.depth_m[None, None]),
        )
        return self._teacher(query)[0].nan_to_num().view(rows, columns, -1)

    def _spread(self, patches: Int[Tensor, "r k"]) -> Int[Tensor, "h w"]:
        """Every pixel has what its patch has."""
        return patches.repeat_interleave(self._patch, 0).repeat_interleave(self._patch, 1)
