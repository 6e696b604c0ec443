"""Questions about a street: written as POP-3D's are, read again, and answered."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from occ_perception.core.errors import BagError, PredictionError
from occ_perception.core.labels import load_label_map
from occ_perception.core.types import Prediction, PreparedView
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.retrieval_set import evaluate_retrieval, mean_scores, read_queries
from occ_perception.systems.base import Needs
from occ_perception.systems.langocc.config import LangOccConfig
from occ_training.labels.toy_text import ToyTextEncoder
from occ_training.world.config import WorldConfig
from occ_training.world.retrieval_set import AskedStreet, write_retrieval

ENCODER = ToyTextEncoder(32)


class Oracle:
    """Knows what every voxel with a LiDAR point is; `blur` mixes chance into it."""

    grid = LangOccConfig().grid
    labels = load_label_map("occ3d_nuscenes")
    needs = Needs(LangOccConfig().cameras, history=1, ego_motion=True)

    def __init__(self, volume):
        self._volume = volume
        self.shown = 0

    def preprocess(self, frame):
        return PreparedView(torch.zeros(3, 1, 1), frame.camera, np.eye(3), frame.stamp_ns)

    def infer(self, views, context):
        assert len(views) == 6 and context.T_world_base is not None
        self.shown += 1
        labels = torch.zeros(self.grid.shape, dtype=torch.uint8)
        return Prediction(labels, self.grid, context.stamp_ns)

    def reset(self):
        self.shown = 0

    def vectors(self):
        assert self.shown == 2  # the key frame and the one before
        return self._volume

    def in_our_space(self, vectors):
        return vectors


@pytest.fixture(scope="module")
def folder(surround_bag, tmp_path_factory):
    out = tmp_path_factory.mktemp("questions")
    street = AskedStreet(WorldConfig("nuscenes", frames=2), surround_bag.name)
    assert write_retrieval([street], [1], out) >= 5
    return out


def volume_of(bag, queries):
    """At every point the vector of the last text that means it, spread over its surroundings."""
    frames = BagFrames(bag, Oracle.needs, "base_link")
    scan = frames.scan(frames.cloud_topic(), queries[0].stamp_ns)
    T = scan.T_grid_lidar
    index, inside = Oracle.grid.index_of(scan.points @ T[:3, :3].T + T[:3, 3])
    volume = 0.01 * torch.randn(*Oracle.grid.shape, 32, generator=torch.Generator().manual_seed(0))
    for query in queries:
        vector = ENCODER.encode([query.text]).vectors[0]
        hit = np.load(query.hits).astype(bool) & inside
        volume[tuple(torch.from_numpy(index[hit].T))] = vector
    return F.normalize(volume, dim=-1)


def test_who_knows_finds_and_who_does_not_is_left_to_chance(folder, surround_bag):
    queries = read_queries(folder)
    assert {query.bag for query in queries} == {surround_bag.name}
    nouns = [query for query in queries if " " not in query.text]
    bags = {surround_bag.name: surround_bag}

    def ask(volume):
        found = evaluate_retrieval(
            Oracle(volume), bags, nouns, lambda text: ENCODER.encode([text]).vectors
        )
        return mean_scores(found)

    known = ask(volume_of(surround_bag, nouns))
    noise = torch.randn(*Oracle.grid.shape, 32, generator=torch.Generator().manual_seed(1))
    lost = ask(F.normalize(noise, dim=-1))
    assert known.queries == lost.queries > 3
    assert known.map_visible > 0.7 > lost.map_visible
    assert abs(lost.map_all - lost.chance) < 0.1


def test_what_is_no_benchmark_is_refused(folder, tmp_path):
    with pytest.raises(BagError, match="no retrieval benchmark"):
        read_queries(tmp_path)
    with pytest.raises(BagError, match="was not given"):
        evaluate_retrieval(Oracle(None), {}, read_queries(folder), lambda text: None)
    with pytest.raises(PredictionError, match="no query"):
        mean_scores([])
