import json

import numpy as np
import pytest

from occ_perception.bags.images import decode_values
from occ_perception.bags.reader import BagReader
from occ_perception.cli import main
from occ_training.labels import worker

KINDS = ("--layers", "depth", "masks", "--depth-form", "png16")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(worker, "_FRAMES_PER_PART", 5)


def read(layer):
    with BagReader(layer) as bag:
        messages = [m for m in bag.messages() if m.topic != "/labels/about"]
        return {(m.topic, bag.stamp_ns(m)): decode_values(bag.decode(m)) for m in messages}


def test_two_workers_make_what_one_makes(surround_bag, tmp_path, capsys):
    words = ["label", "toy", str(surround_bag)]
    assert main([*words, str(tmp_path / "one"), *KINDS]) == 0
    assert main([*words, str(tmp_path / "two"), *KINDS, "--shard", "1/2"]) == 3
    assert "2 of 3 parts missing" in " ".join(capsys.readouterr().out.split())
    assert main([*words, str(tmp_path / "two"), *KINDS, "--shard", "0/2"]) == 0
    one, two = (read(tmp_path / name / surround_bag.name) for name in ("one", "two"))
    assert len(one) == 12 * 2 and one.keys() == two.keys()
    assert all(np.array_equal(one[key], two[key]) for key in one)
    assert next(v.dtype for (topic, _), v in one.items() if topic.endswith("depth")) == np.uint16
    inventory = json.loads((tmp_path / "two/inventory.json").read_text())["layers"]
    assert inventory[surround_bag.name]["missing"] == 0


def test_storage_is_told_before_the_run(surround_bag, tmp_path, capsys):
    words = ["label", "toy", str(surround_bag.parent), str(tmp_path / "layers")]
    assert main([*words, "--layers", "masks", "--dry-run"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "per 1000 images; 12 images in 1 recordings" in told and "are free" in told
    assert not (tmp_path / "layers").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["depth"], "name one teacher"),
        (["depth", "--model", "/nowhere"], "holds no AutoModelForDepthEstimation"),
        (["masks"], "masks need --detector"),
        (["maskclip"], "maskclip needs --weights"),
        (["lseg"], "lseg needs --weights"),
        (["toy", "--scale", "2"], "at a scale of 0 to 1"),
        (["toy", "--shard", "2/2"], "is not i/n"),
        (["toy", "--cameras", "/nothing"], "no rectified camera /nothing"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(words, reason, surround_bag, tmp_path, capsys):
    teacher, *options = words
    assert main(["label", teacher, str(surround_bag), str(tmp_path), *options]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert reason in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("teacher", "options"),
    [("maskclip", ["--scale", "0.5"]), ("toy", ["--device", "cpu"]), ("masks", ["--depth-form"])],
)
def test_an_option_that_a_teacher_does_not_know_is_refused(teacher, options, capsys):
    with pytest.raises(SystemExit) as end:
        main(["label", teacher, "bag", "out", *options])
    assert end.value.code == 2


def test_a_folder_without_bags_is_refused(tmp_path, capsys):
    assert main(["label", "toy", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "neither a bag nor a folder of bags" in " ".join(capsys.readouterr().err.split())
