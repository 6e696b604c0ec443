"""Benchmarks on bags, with systems that know the answer."""

import numpy as np
import pytest
import torch

from occ_perception.core.errors import BagError, ConfigError, PredictionError
from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import load_label_map
from occ_perception.core.types import Prediction
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.benchmarks import benchmarks
from occ_perception.eval.scoring import Place, chosen, evaluate_system, find_places, score
from occ_perception.eval.voxel_scorers import voxels_in_view
from occ_perception.eval.voxel_truth import VoxelTopic
from occ_perception.systems.base import Needs
from occ_perception.systems.roles import MONO, SURROUND_CAMERAS


class Knowing:
    """Answers with the truth of the stamp whose images it sees."""

    offers = ()

    def __init__(self, bag, needs, alter=lambda labels: labels):
        self.truth = VoxelTopic(bag, truth=True)
        self.grid, self.labels = self.truth.grid, self.truth.label_map
        self.needs, self.alter = needs, alter
        self.seen = []

    def reset(self):
        self.seen.append("reset")

    def preprocess(self, frame):
        return frame

    def infer(self, views, context):
        self.seen.append((views, context))
        near = min(self.truth.stamps_ns, key=lambda s: abs(s - views[0].stamp_ns))
        labels = self.alter(torch.from_numpy(self.truth.at(near)))
        return Prediction(labels, self.grid, context.stamp_ns)


SURROUND = Needs(SURROUND_CAMERAS, history=1, ego_motion=True)


def test_the_truth_itself_is_perfect_and_that_of_other_places_is_not(surround_bag):
    system = Knowing(surround_bag, SURROUND)
    names = ("occ3d", "occ3d_15", "geometry", "geometry_in_view")
    good = evaluate_system(system, [surround_bag], benchmarks("langocc", system, names))
    assert len(good.frames) == 2 and not good.missing
    assert good.scores["occ3d"] == {"miou": 1.0, "iou": 1.0, "iou free": 1.0}
    assert good.scores["geometry"]["iou 80 m"] == good.scores["geometry in view"]["iou 80 m"] == 1
    assert good.classes["occ3d"]["iou"]["driveable_surface"] == 1.0
    shown = benchmarks("langocc", system, names)
    wrong = evaluate_system(system, [surround_bag], shown, shuffle=True)
    assert wrong.scores["occ3d"]["miou"] < 0.9 and wrong.scores["geometry"]["iou 80 m"] < 0.9


STEREO_PAIR = Needs(("left", "right"), stereo=True)


def test_completion_counts_every_known_voxel(truth_bag):
    def filled(labels):
        return torch.where(labels == 255, 0, labels).to(torch.uint8)

    system = Knowing(truth_bag, STEREO_PAIR, filled)
    found = evaluate_system(system, [truth_bag], benchmarks("vlscene", system))
    scores = found.scores["completion"]
    assert all(scores[f"{n} {r} m"] == 1 for n in ("iou", "precision") for r in (12.8, 51.2))
    columns = found.classes["completion"]
    assert columns["51.2 m"]["road"] == 1 and "empty" not in columns["51.2 m"]
    table = found.confusions["completion"]
    assert len(table.names) == 20 and table.counts.sum() == np.trace(table.counts) > 1e5
    assert [(v.camera.name, v.stamp_ns) for v in system.seen[1][0]] == [
        (side, system.truth.stamps_ns[0]) for side in ("left", "right")
    ]


def test_the_worst_frames_are_kept_with_their_answers(truth_bag):
    first = VoxelTopic(truth_bag, truth=True).stamps_ns[0]
    system = Knowing(truth_bag, STEREO_PAIR)
    sources = [BagFrames(truth_bag, STEREO_PAIR, "velodyne")]
    scorers = benchmarks("vlscene", system)
    places = find_places(sources, scorers)

    def answer(place):
        labels = torch.from_numpy(system.truth.at(place.stamp_ns))
        labels = torch.where(labels == 255, 0, labels).to(torch.uint8)
        free = torch.zeros_like(labels)
        return Prediction(free if place.stamp_ns == first else labels, system.grid, place.stamp_ns)

    found = score(answer, places, sources, scorers, keep=1)
    (worst,) = found.worst
    assert worst.place.stamp_ns == first and worst.score == 0 and not worst.answer.labels.any()
    assert [j.place.stamp_ns for j in found.frames] == system.truth.stamps_ns
    nobody = score(lambda place: None, places, sources, benchmarks("vlscene", system))
    assert nobody.missing == places and nobody.scores["completion"] == {}


def test_a_truth_that_knows_nothing_gives_no_score(truth_bag, monkeypatch):
    system = Knowing(truth_bag, STEREO_PAIR, lambda labels: torch.zeros_like(labels))
    nothing = np.full(system.grid.shape, 255, np.uint8)
    monkeypatch.setattr(VoxelTopic, "truth_at", lambda self, stamp_ns: nothing)
    found = evaluate_system(system, [truth_bag], benchmarks("vlscene", system))
    assert set(found.scores["completion"].values()) == {None}


def test_rays_find_the_same_walls_in_the_same_voxels(surround_bag):
    system = Knowing(surround_bag, SURROUND)
    good = evaluate_system(
        system, [surround_bag], benchmarks("langocc", system, ["rayiou"]), frames=1
    )
    assert good.scores["rayiou"]["rayiou"] == 1.0


def test_all_free_scores_nothing(surround_bag):
    system = Knowing(surround_bag, SURROUND, lambda labels: torch.full_like(labels, 17))
    found = evaluate_system(system, [surround_bag], benchmarks("gaussianflowocc", system), frames=1)
    assert found.scores["occ3d"]["miou"] == 0 and found.scores["occ3d"]["iou"] == 0


def test_cameras_stand_where_they_were_when_they_exposed(surround_bag):
    frames = BagFrames(surround_bag, SURROUND, "base_link")
    stamp_ns = VoxelTopic(surround_bag, truth=True).stamps_ns[1]
    found = frames.at(stamp_ns)
    assert [f.camera.name for f in found.frames] == list(SURROUND_CAMERAS)
    moved = [
        np.abs(f.camera.T_base_cam[:3, 3] - fixed.T_base_cam[:3, 3]).max()
        for f, fixed in zip(found.frames, frames.cameras, strict=True)
    ]
    assert found.stamp_ns == stamp_ns and max(moved) > 0.05 and max(moved) < 1.0


def test_a_single_camera_is_judged_where_it_looks(truth_bag):
    mono = Needs(MONO)
    grid = VoxelTopic(truth_bag, truth=True).grid
    mask = voxels_in_view(grid, BagFrames(truth_bag, mono, "velodyne").cameras[0])
    assert mask[200, 128].any() and not mask[2, 2].any()  # ahead, and beside the vehicle

    system = Knowing(
        truth_bag, mono, lambda labels: (labels > 0).to(torch.uint8) * torch.from_numpy(mask)
    )
    system.labels = load_label_map("occupancy")
    scorers = benchmarks("vipocc", system, ["geometry_in_view", "geometry"])
    found = evaluate_system(system, [truth_bag], scorers)
    view, whole = found.scores["geometry in view"], found.scores["geometry"]
    assert view["iou 51.2 m"] == 1 and 0.3 < whole["recall 51.2 m"] < 0.99


def test_an_answer_on_another_grid_is_refused(surround_bag):
    system = Knowing(surround_bag, SURROUND)
    system.grid = GridSpec((0.0, 0.0, 0.0), (0.4,) * 3, (200, 200, 16), "base_link")
    with pytest.raises(PredictionError, match="give the system the grid of the truth"):
        evaluate_system(system, [surround_bag], benchmarks("langocc", system))


def test_other_truth_and_unknown_benchmarks_are_refused(truth_bag, surround_bag):
    system = Knowing(truth_bag, Needs(MONO))
    with pytest.raises(ConfigError, match="voxels of 'semantickitti'"):
        evaluate_system(system, [truth_bag], benchmarks("langocc", system))
    with pytest.raises(ConfigError, match="unknown benchmark 'taste'"):
        benchmarks("langocc", system, ["taste"])
    with pytest.raises(BagError, match="0 topics of voxel truth"):
        VoxelTopic(surround_bag, "/nothing", truth=True)


def test_systems_with_a_memory_get_the_beginning_of_each_drive():
    places = [Place(bag, stamp) for bag in range(2) for stamp in range(5)]
    assert chosen(places, 4, in_order=True) == [Place(b, s) for b in range(2) for s in range(2)]
    assert chosen(places, 3, in_order=False) == [Place(0, 0), Place(0, 4), Place(1, 4)]
    assert chosen(places, 0, in_order=False) == places
