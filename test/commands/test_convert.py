import json
import os

import pytest
from training.convert.small_trees import kitti_frames, write_kitti

from occ_perception.cli import main


@pytest.fixture
def tree(tmp_path):
    write_kitti(tmp_path / "kitti", kitti_frames(2), "30")
    return write_kitti(tmp_path / "kitti", kitti_frames(3, voxels=False), "08")


def test_a_whole_data_set(tree, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["convert", "semantickitti", str(tree), str(out), "--scenes", "30"]) == 0
    text = capsys.readouterr().out
    assert "semantickitti_30" in text
    assert "/ground_truth/voxels" in text
    assert "1 bags, 0 problems" in text
    assert sorted(p.name for p in out.iterdir()) == [
        "README.md",
        "inventory.json",
        "semantickitti_30",
    ]
    assert "noon (UTC)" in (out / "README.md").read_text()


def test_damage_changes_the_exit_code(tree, tmp_path, capsys):
    path = tree / "sequences/30/image_2/000001.png"
    path.write_bytes(b"")
    assert main(["convert", "kitti", str(tree), str(tmp_path / "out")]) == 3
    text = capsys.readouterr().out
    assert str(path) in text
    assert "2 bags, 1 problems" in text


def test_nothing_to_convert(tmp_path, capsys):
    assert main(["convert", "kitti-raw", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "has no drive of KITTI Raw" in capsys.readouterr().err
    (tmp_path / "sequences/30").mkdir(parents=True)
    assert main(["convert", "kitti", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "calib.txt is missing" in capsys.readouterr().out


def test_splits_by_name_and_by_file(tree, tmp_path):
    out = tmp_path / "out"
    assert main(["convert", "kitti", str(tree), str(out), "--split", "val"]) == 0
    assert (out / "kitti_08").is_dir()
    assert not (out / "kitti_30").exists()
    listed = tmp_path / "list.txt"
    listed.write_text("30 0000000005 l\n30 0000000006 r\n")
    assert main(["convert", "kitti", str(tree), str(out), "--split", str(listed)]) == 0
    assert (out / "kitti_30").is_dir()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--scenes", "99"], "no scene '99'"),
        (["--split", "test"], "in the split 'test'"),
        (["--jobs", "0"], "at least one process"),
    ],
)
def test_what_cannot_be_meant(tree, tmp_path, capsys, options, words):
    assert main(["convert", "kitti", str(tree), str(tmp_path / "out"), *options]) == 2
    assert words in capsys.readouterr().err


def test_resume_and_epoch(tree, tmp_path):
    out = tmp_path / "out"
    line = ["convert", "kitti", str(tree), str(out), "--epoch", "2030-01-01T00:00:00", "--resume"]
    assert main(line) == 0
    before = os.stat(out / "kitti_30/metadata.yaml").st_mtime_ns
    assert main(line) == 0
    assert os.stat(out / "kitti_30/metadata.yaml").st_mtime_ns == before
    metadata = (out / "kitti_30/metadata.yaml").read_text()
    assert "nanoseconds_since_epoch: 1893456000000000000" in metadata
    scenes = json.loads((out / "inventory.json").read_text())["scenes"]
    assert scenes["kitti_08"]["split"] == "val"
