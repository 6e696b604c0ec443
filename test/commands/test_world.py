import json
import re
from collections import defaultdict

import numpy as np
import pytest
from PIL import Image

from occ_perception.bags.reader import BagReader
from occ_perception.cli import main
from occ_perception.core.errors import ConfigError
from occ_training.world.config import WorldConfig
from occ_training.world.scene import build_scene


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One short street as a bag and as pictures."""
    folder = tmp_path_factory.mktemp("world")
    words = ["--frames", "1", "--cameras", "image_2", "image_3", "--landmark"]
    places = ["--bag", str(folder / "bags"), "--pictures", str(folder / "pictures")]
    assert main(["world", *words, *places]) == 0
    return folder


def test_bags_lie_beside_their_inventory(made):
    inventory = json.loads((made / "bags/inventory.json").read_text())
    (name,) = inventory["scenes"]
    assert name == "world_kitti_tiny_7"
    assert inventory["scenes"][name]["problems"] == []
    assert (made / "bags" / name / "metadata.yaml").is_file()


def test_every_leaves_the_frames_that_have_truth_and_sweeps_between_them(tmp_path):
    """Frames 0 and 5 of 6, each with its own stamp, images, sweep, pose and voxels."""
    words = ["--frames", "6", "--every", "5", "--cameras", "image_2", "image_3"]
    words += ["--sweeps-every", "3"]
    assert main(["world", *words, "--bag", str(tmp_path)]) == 0
    with BagReader(tmp_path / "world_kitti_tiny_7") as bag:
        stamps = defaultdict(list)
        for message in bag.messages():
            stamps[message.topic].append(message.time_ns)
    sides = [f"/camera_color/{side}/image_rect/compressed" for side in ("left", "right")]
    scene = build_scene(WorldConfig(frames=6))
    first, between, last = (scene.stamp_ns(float(scene.frame_times[n])) for n in (0, 3, 5))
    for topic in (*sides, "/ground_truth/voxels"):
        assert stamps[topic] == [first, last], topic
    for topic in ("/velodyne/points", "/tf"):
        assert stamps[topic] == [first, between, last], topic


def test_a_street_that_is_there_is_not_made_again(made, capsys):
    bag = made / "bags/world_kitti_tiny_7/metadata.yaml"
    before = bag.stat().st_mtime_ns
    words = ["--frames", "1", "--cameras", "image_2", "image_3", "--landmark", "--resume"]
    assert main(["world", *words, "--bag", str(made / "bags")]) == 0
    assert bag.stat().st_mtime_ns == before
    assert "1 bags, 0 problems" in capsys.readouterr().out


def test_pictures_show_every_sensor(made):
    kinds = {path.stem.removeprefix("kitti_tiny_7_0000_") for path in made.glob("pictures/*")}
    assert kinds == {"images", "distance", "classes", "lidar", "truth", "overview"}
    images = {path.stem.split("_")[-1]: np.asarray(Image.open(path)) for path in made.glob("p*/*")}
    assert all(image.std() > 5 for image in images.values())
    # The landmark is red and left of the middle of the left camera's picture, which is 800 wide.
    red, green, blue = (images["images"][..., i].astype(int) for i in range(3))
    half = images["images"].shape[1] // 2
    _, u = np.nonzero((red > 100) & (red > 3 * green) & (red > 3 * blue))
    left = u[u < half]
    assert len(left) > 200 and left.mean() < 400


def test_a_street_as_a_data_set_on_disk_is_converted_by_the_line_it_prints(tmp_path, capsys):
    """World -> real layout -> the real converter, by the two commands."""
    tree, bags = tmp_path / "tree", tmp_path / "bags"
    words = ["--rig", "nuscenes", "--frames", "1", "--seed", "3", "--tree", str(tree)]
    assert main(["world", *words]) == 0
    line = re.search(r"occ (convert .*) bags\n", capsys.readouterr().out)[1]
    assert main([*line.split(), str(bags)]) == 0
    assert "/ground_truth/voxels" in capsys.readouterr().out
    assert (bags / "nuscenes_scene-9000/metadata.yaml").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "say what to make"),
        (["--jobs", "0"], "at least one process"),
        (["--every", "0"], "it is 1 or more"),
        (["--held", "--split", "unit"], "leave out --split"),
        (["--held", "--seed", "1003"], "published split"),
        (["--busy", "--seed", "1003"], "published split"),
        (["--busy", "--split", "unit"], "leave out --split"),
        (["--busy", "--held"], "choose one"),
        (["--cameras", "image_9"], "no camera image_9; it has: image_0"),
        (["--frames", "0"], "one frame or more"),
        (["--rig", "cityscapes"], "no layout of its own"),
        (["--layout", "nuscenes"], "which has: semantickitti, kitti-raw"),
    ],
)
def test_what_makes_no_sense_is_refused(words, sentence, tmp_path):
    places = ["--tree", str(tmp_path / "tree")] if words else ["--seed", "7"]
    with pytest.raises(ConfigError, match=sentence):
        main(["--debug", "world", *words, *places])
    assert not (tmp_path / "tree").exists()


def test_a_rig_without_bag_says_so_and_fails(tmp_path, capsys):
    words = ["--rig", "realestate10k", "--bag", str(tmp_path)]
    assert main(["world", *words]) == 2
    assert "single camera" in capsys.readouterr().out


@pytest.mark.parametrize("output", ["--tree", "--pictures", "--bag"])
def test_a_place_that_cannot_be_written_is_named(output, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["world", "--frames", "1", output, str(tmp_path / "file")]) == 2
    error = capsys.readouterr().err
    assert str(tmp_path / "file") in error and error.count("\n") == 1
