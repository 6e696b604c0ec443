"""Classes of pixels on a computed street, by systems that know or confuse them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from occ_perception.bags.images import decode_values
from occ_perception.cli import main
from occ_perception.core.cityscapes import SSCBENCH_15_OF_TRAIN_ID, TRAIN_NAMES, kitti360_train_ids
from occ_perception.core.errors import BagError, ConfigError
from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import load_label_map
from occ_perception.core.types import Prediction
from occ_perception.eval import segmentation_scorer
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.benchmarks import WITHOUT_VOXELS, benchmarks
from occ_perception.eval.scoring import evaluate_system
from occ_perception.systems.base import NOT_SEEN, PIXEL_CLASSES, Needs
from occ_perception.systems.roles import MONO
from occ_perception.systems.scenedino.classes import cluster_labels

TRUTH = "/ground_truth/camera_color/left/semantic/compressed"
CAR, PERSON, BUILDING, SKY = (TRAIN_NAMES.index(n) for n in ("car", "person", "building", "sky"))


class Knowing:
    """Answers with the truth, every class under the number that `renamed` gives it."""

    needs, grid = Needs(MONO), GridSpec((0, 0, 0), (1, 1, 1), (2, 2, 2), "velodyne")

    def __init__(self, bag, renamed=range(19), labels="sscbench_15"):
        self.frames = BagFrames(bag, self.needs, "velodyne")
        self.labels = load_label_map(labels) if isinstance(labels, str) else labels
        self._renamed = torch.tensor([*renamed, NOT_SEEN])

    def reset(self):
        pass

    def preprocess(self, frame):
        return frame

    def infer(self, views, context):
        ids = decode_values(self.frames.message(TRUTH, context.stamp_ns)).astype(int)
        answer = self._renamed[torch.from_numpy(kitti360_train_ids(ids)).long()]
        extras = {PIXEL_CLASSES: answer} if PIXEL_CLASSES in context.wanted else {}
        labels = torch.zeros(self.grid.shape, dtype=torch.uint8)
        return Prediction(labels, self.grid, context.stamp_ns, extras=extras)


def scores(bag, system, name="segmentation", **options):
    scorers = benchmarks("scenedino", system, [name])
    return evaluate_system(system, [bag], scorers, frames=2, **options)


def test_the_truth_is_perfect_and_absent_classes_count_as_zero(truth_bag):
    found = scores(truth_bag, Knowing(truth_bag))
    named = found.scores["2d segmentation"]
    table = found.classes["2d segmentation"]["as named"]
    assert named["accuracy"] == named["matched accuracy"] == 1
    present = [value for value in table.values() if value]
    assert set(present) == {1.0} and table["car"] == 1 and table["train"] == 0
    assert named["miou"] == pytest.approx(len(present) / 19)
    assert np.trace(found.confusions["2d segmentation"].counts) > 1000


def test_wrong_names_are_wrong_and_the_matching_mends_them(truth_bag):
    turned = [(i + 1) % 19 for i in range(19)]
    found = scores(truth_bag, Knowing(truth_bag, turned)).scores["2d segmentation"]
    assert found["accuracy"] < 0.01 and found["matched accuracy"] == 1


def test_merged_classes_cost_the_rarer_one(truth_bag):
    merged = [BUILDING if i == SKY else i for i in range(19)]
    found = scores(truth_bag, Knowing(truth_bag, merged))
    table = found.classes["2d segmentation"]["as named"]
    assert table["sky"] == 0 < table["building"] < 1
    assert 0 < found.scores["2d segmentation"]["accuracy"] < 1


def test_clusters_without_names_are_only_matched(truth_bag):
    clusters = [(7 * i) % 19 for i in range(19)]
    found = scores(truth_bag, Knowing(truth_bag, clusters, cluster_labels(27)))
    named = found.scores["2d segmentation"]
    assert set(named) == {"matched miou", "matched weighted miou", "matched accuracy"}
    assert named["matched accuracy"] == 1
    counts = found.confusions["2d segmentation"].counts
    assert counts.shape == (19, 19) and np.trace(counts) == counts.sum()


def test_what_was_not_shown_does_not_count(truth_bag):
    hidden = [NOT_SEEN if i == CAR else i for i in range(19)]
    found = scores(truth_bag, Knowing(truth_bag, hidden))
    assert found.scores["2d segmentation"]["accuracy"] == 1
    assert found.classes["2d segmentation"]["as named"]["car"] == 0


def test_images_of_other_places_are_a_control(truth_bag):
    found = scores(truth_bag, Knowing(truth_bag), shuffle=True)
    assert found.scores["2d segmentation"]["accuracy"] < 0.99


def test_ids_of_another_data_set_are_read_by_its_own_table(truth_bag):
    found = scores(truth_bag, Knowing(truth_bag), "segmentation_bdd100k")
    # Id 7 is the road in both; 26 is a car here and a traffic sign there.
    table = found.classes["2d segmentation"]["as named"]
    assert table["road"] == 1 and table["car"] == 0


def test_the_crf_is_shown_the_answer_and_the_picture(truth_bag, monkeypatch):
    shown = []

    def blur(classes, image, count):
        shown.append((classes.shape, image.shape, count))
        return np.zeros_like(classes)

    monkeypatch.setattr(segmentation_scorer, "refine", blur)
    found = scores(truth_bag, Knowing(truth_bag), "segmentation_crf")
    (height, width), image, count = shown[0]
    assert image == (height, width, 3) and count == 19
    assert found.classes["2d segmentation, crf"]["as named"]["car"] == 0


def test_the_command_scores_the_shipped_model(truth_bag, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["eval", "--help"])
    assert "segmentation_bdd100k" in " ".join(capsys.readouterr().out.split())
    words = ["eval", "scenedino", str(truth_bag), "--preset", "nano", "--frames", "1"]
    assert main([*words, "--benchmarks", "segmentation", "--output", str(tmp_path)]) == 0
    told = json.loads((tmp_path / "report.json").read_text())
    assert 0.05 < told["scores"]["2d segmentation"]["matched accuracy"] < 1
    assert "2d segmentation" in capsys.readouterr().out
    assert list(tmp_path.glob("worst_1_*.png")) and (tmp_path / "confusion.png").is_file()


def test_systems_and_bags_that_cannot_be_scored_are_told_so(truth_bag, tmp_path):
    silent = Knowing(truth_bag)
    plain = silent.infer
    silent.infer = lambda views, context: plain(views, type(context)(context.stamp_ns))
    with pytest.raises(ConfigError, match="gives no classes of pixels"):
        scores(truth_bag, silent)
    frames = SimpleNamespace(bag=truth_bag, image_topics=["/camera/left/image"], stamps_of={}.get)
    with pytest.raises(BagError, match="no class images /ground_truth/camera/left/semantic"):
        segmentation_scorer.class_topic(frames)
    assert {"segmentation", "segmentation_crf", "segmentation_bdd100k"} <= WITHOUT_VOXELS


def test_fifteen_classes_stand_beside_nineteen():
    names = load_label_map("sscbench_15").names
    together = {TRAIN_NAMES[i]: names[k] for i, k in enumerate(SSCBENCH_15_OF_TRAIN_ID)}
    assert together["car"] == "car" and together["rider"] == together["sky"] == names[0]
