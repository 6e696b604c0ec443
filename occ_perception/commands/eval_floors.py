"""`occ eval --floors`: what answers without eyes score in the same benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from occ_perception.core.errors import ConfigError
from occ_perception.core.types import Prediction
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.scoring import Place, Scorer, Scores, score
from occ_perception.eval.voxel_truth import VoxelTopic


def floor_scores(
    file: Path,
    places: Sequence[Place],
    frames: Sequence[BagFrames],
    fresh: Callable[[], Sequence[Scorer]],
    topic: str = "",
) -> dict[str, dict[str, Scores]]:
    """Scores by floor and benchmark.

    Args:
        file: Floors that `occ floors --output` has kept.
        places: The scored instants.
        frames: Images of the bags.
        fresh: Makes the benchmarks anew.
        topic: Topic of the voxel truth; empty = the only one.

    Raises:
        OccError: The file cannot be used, or is of another grid than the truth.
    """
    from occ_training.world.bag_floors import FloorMaps

    grid = VoxelTopic(frames[0].bag, topic, truth=True).grid
    found = {}
    for name, ids in FloorMaps.load(file).maps.items():
        if ids.shape != grid.shape:
            raise ConfigError(
                f"floors '{file}' are of {ids.shape} voxels, the truth of {grid.shape}: learn them "
                "from bags of the same kind with `occ floors --train`"
            )
        same = torch.from_numpy(ids)

        def answer(place: Place, ids: torch.Tensor = same) -> Prediction:
            return Prediction(ids, grid, place.stamp_ns)

        found[name] = score(answer, places, frames, fresh()).scores
    return found
