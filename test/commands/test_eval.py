import json

import numpy as np
import pytest
import torch

from occ_perception.cli import main
from occ_perception.commands.eval import words_of
from occ_perception.commands.eval_benchmarks import SAID
from occ_perception.eval.benchmarks import BENCHMARKS
from occ_perception.systems.vlscene.checkpoint import VLSceneCheckpoint
from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_perception.systems.vlscene.model import VLScene
from occ_perception.weights.files import write_weights
from occ_training.world.config import WorldConfig
from occ_training.world.retrieval_set import AskedStreet, write_retrieval

NANO = ("--preset", "nano")
RANGES = ["12.8 m", "25.6 m", "51.2 m"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    about = VLSceneCheckpoint(VLSceneConfig.nano())
    state = VLScene(VLSceneConfig.nano()).state_dict()
    kept = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    text = {"system": "vlscene", "labels": about.labels, "source": "random", "licence": "none"}
    text |= {"config": about.config(), "grid": about.grid(), "source_sha256": "0"}
    write_weights(path, kept, text)
    return path


@pytest.fixture(scope="module")
def offline(truth_bag, weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("eval")
    words = ["eval", "vlscene", str(truth_bag), *NANO, "--weights", str(weights)]
    more = ["--output", str(folder / "report"), "--submission", str(folder / "files")]
    assert main([*words, *more]) == 0
    return folder


def document(folder):
    return json.loads((folder / "report.json").read_text())


def test_the_report_has_tables_and_pictures(offline):
    names = {path.name.split("_")[0] for path in (offline / "report").iterdir()}
    assert names == {"report.json", "classes.png", "confusion.png", "worst"}
    told = document(offline / "report")
    assert told["frames"] == 2 and list(told["classes"]["completion"]) == RANGES
    assert told["about"]["weights"] == "w.safetensors"


def test_files_of_a_submission_score_the_same(offline, truth_bag, tmp_path):
    files = offline / "files/sequences/08/predictions"
    assert sorted(p.name for p in files.iterdir()) == ["000000.label", "000005.label"]
    words = ["eval", "vlscene", str(truth_bag), "--predictions", str(files)]
    assert main([*words, "--output", str(tmp_path)]) == 0
    assert document(tmp_path)["confusion"] == document(offline / "report")["confusion"]


def test_floors_stand_beside_the_scores(offline, truth_bag, tmp_path, capsys):
    """Answers that were kept against floors that were learnt from the very same truth."""
    maps, files = str(tmp_path / "floors.npz"), offline / "files/sequences/08/predictions"
    assert main(["floors", "--train", str(truth_bag), "--output", maps]) == 0
    words = ["eval", "vlscene", str(truth_bag), "--predictions", str(files), "--floors", maps]
    assert main([*words, "--output", str(tmp_path / "report")]) == 0
    told = document(tmp_path / "report")
    scores = {name: found["completion"]["iou 51.2 m"] for name, found in told["floors"].items()}
    assert scores["all free"] == 0
    assert scores["best map without looking"] > 0.5 > told["scores"]["completion"]["iou 51.2 m"]
    assert "best map without looking" in " ".join(capsys.readouterr().out.split())


def test_words_are_asked_for(surround_bag, tmp_path, capsys):
    folder, report = tmp_path / "questions", tmp_path / "report"
    street = AskedStreet(WorldConfig("nuscenes", frames=2), surround_bag.name)
    asked = write_retrieval([street], [1], folder)
    words = ["eval", "langocc", str(surround_bag), *NANO, "--weights", "random"]
    assert main([*words, "--queries", str(folder), "--output", str(report)]) == 0
    told = document(report)
    assert told["frames"] == 0 and set(told["scores"]) >= {"retrieval, all"}
    found = told["scores"]["retrieval, all"]
    assert 0 < found["queries [1]"] <= asked
    assert 0 < found["chance visible"] < 1 and 0 < found["mAP visible"] <= 1
    assert "retrieval, all" in " ".join(capsys.readouterr().out.split())


def test_kept_voxels_of_a_surround_system_score_the_same(surround_bag, tmp_path, capsys):
    words = ["eval", "gaussianflowocc", str(surround_bag), *NANO, "--frames", "1"]
    report, files = tmp_path / "report", tmp_path / "files"
    kept = ["--weights", "random", "--output", str(report), "--submission", str(files)]
    assert main([*words, *kept]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "gaussianflowocc (random, offline)" in told and "IoU % per class" in told
    (file,) = files.glob("*.npz")
    assert file.stem.isdecimal()
    again = tmp_path / "again"
    assert main([*words, "--predictions", str(files), "--output", str(again)]) == 0
    assert document(again)["scores"] == document(report)["scores"]
    np.savez(file, arr_0=np.zeros((2, 2, 2), np.uint8))
    assert main([*words, "--predictions", str(files)]) == 2
    assert "holds uint8(2, 2, 2)" in " ".join(capsys.readouterr().err.split())


def test_a_field_is_scored_by_geometry_and_depth(truth_bag, tmp_path, capsys):
    words = ["eval", "vipocc", str(truth_bag), *NANO, "--weights", "random", "--frames", "1"]
    more = ["--benchmarks", "geometry_in_view", "depth", "--output", str(tmp_path)]
    assert main([*words, *more]) == 0
    told = document(tmp_path)
    assert set(told["scores"]) == {"geometry in view", "rendered depth"}
    assert told["scores"]["rendered depth"]["abs rel [1]"] > 0
    assert "rendered depth" in capsys.readouterr().out


def test_every_benchmark_is_explained():
    assert SAID.keys() == BENCHMARKS.keys()


def test_prompts_come_with_commas_or_one_by_one():
    assert words_of(("car, traffic cone", "tree")) == ("car", "traffic cone", "tree")
    assert words_of((" ,",)) == ()


def test_contradicting_wishes_are_refused(truth_bag, tmp_path, capsys):
    bag = str(truth_bag)
    assert main(["eval", "vlscene", bag, "--live", "--predictions", str(tmp_path)]) == 2
    assert main(["eval", "vlscene", bag, "--live", "--shuffle"]) == 2
    assert main(["eval", "vlscene", bag, "--truth", "/nothing"]) == 2
    assert main(["eval", "vlscene", bag, "--benchmarks", "taste"]) == 2
    assert main(["eval", "vlscene", bag, "--queries", str(tmp_path), *NANO]) == 2
    assert "0 topics of voxel truth" in " ".join(capsys.readouterr().err.split())


@pytest.mark.ros
def test_the_live_node_scores_to_the_last_count_as_offline(offline, truth_bag, weights, tmp_path):
    words = ["eval", "vlscene", str(truth_bag), *NANO, "--weights", str(weights), "--live"]
    assert main([*words, "--output", str(tmp_path)]) == 0
    live, here = document(tmp_path), document(offline / "report")
    assert live["confusion"] == here["confusion"] and live["scores"] == here["scores"]
    assert live["latency"]["published"] == 6 and live["latency"]["dropped"] == {}
