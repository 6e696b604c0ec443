"""Benchmarks of density fields on a computed street, with systems that know the street."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from occ_perception.bags.images import decode_depth_m
from occ_perception.core.errors import ConfigError
from occ_perception.core.labels import load_label_map
from occ_perception.core.types import Prediction
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.benchmarks import benchmarks
from occ_perception.eval.depth_scorer import DepthScorer
from occ_perception.eval.scoring import evaluate_system
from occ_perception.eval.slice_scorer import SliceScorer, level_pose, slice_grid
from occ_perception.eval.sscbench_scorer import SscBenchScorer
from occ_perception.eval.voxel_occupancy_scorer import corridor
from occ_perception.eval.voxel_truth import VoxelTopic
from occ_perception.systems.base import Needs
from occ_perception.systems.roles import MONO

DEPTH = "/ground_truth/camera_color/left/depth"


class Seeing:
    """Knows the depth of every pixel; what lies behind it is occupied."""

    offers = ("depth",)
    needs = Needs(MONO)
    field = "a density field"

    def __init__(self, bag, scale=1.0):
        self.frames = BagFrames(bag, self.needs, "velodyne")
        truth = VoxelTopic(bag, truth=True)
        self.grid, self.labels = truth.grid, load_label_map("occupancy")
        self._last, self._fits, self._scale = None, {}, scale

    def reset(self):
        pass

    def preprocess(self, frame):
        return frame

    def infer(self, views, context):
        (frame,) = views
        camera = frame.camera
        depth = torch.from_numpy(decode_depth_m(self.frames.message(DEPTH, frame.stamp_ns)))
        depth = torch.where(depth > 0, depth * self._scale, torch.nan)
        T = torch.from_numpy(np.linalg.inv(camera.T_base_cam)).float()
        points = self.grid.centers() @ T[:3, :3].T + T[:3, 3]
        x, y, z = points.unbind(-1)
        u = camera.P[0, 0] * x / z.clamp(min=1e-3) + camera.P[0, 2]
        v = camera.P[1, 1] * y / z.clamp(min=1e-3) + camera.P[1, 2]
        known = (z > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
        at = torch.stack([u / camera.width, v / camera.height], -1).flatten(0, 1)[None] * 2 - 1
        seen = F.grid_sample(
            depth[None, None].nan_to_num(1e3), at, mode="nearest", align_corners=False
        )
        behind = (z > seen.view(z.shape)) & known
        extras = {"depth": depth} if "depth" in context.wanted else {}
        labels = behind.to(torch.uint8)
        return Prediction(labels, self.grid, context.stamp_ns, known=known, extras=extras)


def run(bag, system, scorers, **options):
    return evaluate_system(system, [bag], scorers, **options)


def test_true_depth_is_nearly_perfect_and_stretched_depth_is_not(truth_bag):
    good = run(truth_bag, Seeing(truth_bag), [DepthScorer()], frames=2).scores["rendered depth"]
    assert good["a1"] > 0.95 and good["abs rel [1]"] < 0.05
    long = run(truth_bag, Seeing(truth_bag, 1.5), [DepthScorer()], frames=2)
    assert long.scores["rendered depth"]["a1"] < 0.1
    assert 0.4 < long.scores["rendered depth"]["abs rel [1]"] < 0.6
    eigen = run(truth_bag, Seeing(truth_bag), [DepthScorer(crop=True)], frames=1)
    assert eigen.scores["rendered depth"]["a1"] > 0.95


def test_a_depth_that_is_not_given_is_refused(truth_bag):
    with pytest.raises(ConfigError, match="gives no 'predicted_depth'"):
        run(truth_bag, Seeing(truth_bag), [DepthScorer("predicted_depth")])


def test_the_slice_in_front_is_judged_by_what_scans_see(truth_bag):
    system = Seeing(truth_bag)
    good = run(truth_bag, system, [SliceScorer(system)], frames=1).scores["lidar occupancy"]
    wrong = Seeing(truth_bag, 0.3)
    bad = run(truth_bag, wrong, [SliceScorer(wrong)], frames=1).scores["lidar occupancy"]
    assert good["O_acc"] > 0.8 and good["O_acc"] > bad["O_acc"] + 0.05
    assert system.grid.shape == (256, 256, 32)  # its own grid is left alone
    with pytest.raises(ConfigError, match="no control of it: leave out --shuffle"):
        run(truth_bag, system, [SliceScorer(system)], frames=2, shuffle=True)


def test_the_corridor_in_front_is_counted_voxel_by_voxel(truth_bag):
    system = Seeing(truth_bag)
    found = run(truth_bag, system, benchmarks("vipocc", system, ["voxel_occupancy"]), frames=1)
    scores = found.scores["voxel occupancy"]
    assert scores["recall"] > 0.5 and scores["precision"] > 0.5 and 0 < scores["O_acc"] <= 1
    wrong = Seeing(truth_bag, 0.3)
    bad = run(truth_bag, wrong, benchmarks("vipocc", wrong, ["voxel_occupancy"]), frames=1)
    assert bad.scores["voxel occupancy"]["iou"] < scores["iou"] - 0.02
    inside = corridor(VoxelTopic(truth_bag, truth=True), system.frames.cameras[0])
    x, y, _ = torch.where(inside)
    assert int(x.min()) > 10 and int(x.max()) < 110  # 3 to 20 m ahead
    assert (0.2 * (y - 128).abs()).max() < 5.5


def test_the_slices_points_are_the_published_ones():
    grid = slice_grid()
    assert np.allclose(grid.axis_centers(0), np.linspace(-4, 4, 80))
    assert np.allclose(grid.axis_centers(1), 0.375)
    assert np.allclose(grid.axis_centers(2), np.linspace(4, 20, 160))
    ahead = level_pose()[:3, :3] @ [0, 0, 1]
    assert ahead[1] == pytest.approx(0.0871557, abs=1e-6)  # the camera looks down: y is down


def test_a_system_without_a_field_has_no_slice():
    with pytest.raises(ConfigError, match="is for density fields"):
        SliceScorer(SimpleNamespace(labels=None))


def test_fifteen_classes_are_those_of_sscbench(truth_bag, monkeypatch):
    """The street has SemanticKITTI's classes: refused, and scored once it says SSCBench."""
    system = Seeing(truth_bag)
    with pytest.raises(ConfigError, match="scores sscbench_kitti360"):
        run(truth_bag, system, benchmarks("scenedino", system))
    sscbench = load_label_map("sscbench_kitti360")
    plain = VoxelTopic.__init__

    def renamed(self, bag, topic="", *, truth):
        plain(self, bag, topic, truth=truth)
        self.label_map = sscbench

    monkeypatch.setattr(VoxelTopic, "__init__", renamed)
    monkeypatch.setattr(
        VoxelTopic,
        "truth_at",
        lambda self, s: np.where((a := self.at(s)) < 19, a, 255).astype("u1"),
    )
    found = run(truth_bag, system, [SscBenchScorer()], frames=1)
    scores = found.scores["sscbench 15"]
    assert 0 < scores["iou 12.8 m"] < 1 and scores["miou 51.2 m"] is not None
    assert scores["matched miou 51.2 m"] >= scores["miou 51.2 m"] - 1e-9
    assert len(found.classes["sscbench 15"]["51.2 m"]) == 15
