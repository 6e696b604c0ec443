import numpy as np
import pytest
from PIL import Image
from training.convert.small_trees import kitti_frames, write_kitti

from occ_perception.bags.writer import BagWriter
from occ_perception.cli import main
from occ_perception.commands.bag import rate_of
from occ_training.convert.content import Options
from occ_training.convert.kitti import find_sequences
from occ_training.convert.runner import convert


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kitti")
    tree = write_kitti(folder, kitti_frames(6))
    list(convert(find_sequences(tree, semantic=True), folder / "out", Options()))
    return folder / "out" / "semantickitti_30"


def test_info_tells_topics_cameras_frames_and_labels(bag, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "220")
    assert main(["bag", "info", str(bag)]) == 0
    text = capsys.readouterr().out
    assert "9.63" in text  # Hz
    assert "81.7 x 29.2" in text  # field of view of KITTI's camera, a little cropped
    assert "306x92" in text
    assert "velodyne" in text
    assert "/ground_truth/voxels" in text
    assert "problem" not in text


def test_info_names_what_is_missing(tmp_path, capsys):
    with BagWriter(tmp_path / "bare") as bag:
        image = {"encoding": "mono8", "width": 1, "height": 1, "step": 1, "data": np.zeros(1)}
        bag.write_message("/camera/image", "sensor_msgs/msg/Image", 5, image)
    assert main(["bag", "info", str(tmp_path / "bare")]) == 0
    text = capsys.readouterr().out
    assert "/camera/image has no camera_info beside it" in text
    assert "there is no /tf" in text


def test_info_of_what_is_no_bag(tmp_path, capsys):
    assert main(["bag", "info", str(tmp_path)]) == 2
    assert "is no MCAP bag" in capsys.readouterr().err


def test_pictures_show_sweeps_and_voxels(bag, tmp_path):
    assert main(["bag", "pictures", str(bag), "--output", str(tmp_path), "--count", "1"]) == 0
    names = sorted(p.name.split("_000000_")[1] for p in tmp_path.iterdir())
    assert names == [
        "lidar_from_above.png",
        "lidar_over_image.png",
        "voxels_from_above.png",
        "voxels_over_image.png",
    ]
    for path in tmp_path.iterdir():
        assert np.asarray(Image.open(path)).std() > 5


def test_rates_and_breaks():
    steady = np.arange(10) * 100_000_000
    assert rate_of(steady).hz == pytest.approx(10)
    assert rate_of(steady).breaks == 0
    holey = np.delete(steady, [4, 5])
    assert (rate_of(holey).breaks, rate_of(holey).longest_gap_s) == (1, pytest.approx(0.3))
    assert rate_of(steady[:1]).hz == 0
