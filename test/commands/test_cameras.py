import json

import pytest

from occ_perception.cli import main

PAIR = ("/camera_color/left/image_rect", "/camera_color/right/image_rect/compressed")
EVAL = ("eval", "vlscene", "--preset", "nano", "--weights", "random")


def sentence(capsys):
    return " ".join(capsys.readouterr().err.split())


def test_two_stereo_pairs_are_named_with_the_option_that_chooses_one(two_pairs_bag, capsys):
    bag = str(two_pairs_bag)
    train = ("train", "vlscene", "--preset", "nano", "--output", "run", "--data", bag)
    ways = {
        "--cameras LEFT RIGHT": (*EVAL, bag),
        "--training.topics.left LEFT --training.topics.right RIGHT": train,
    }
    for option, words in ways.items():
        assert main([*words]) == 2
        told = sentence(capsys)
        assert "2 stereo pairs" in told and option in told
        assert "/camera/left/image_rect/compressed + /camera/right/image_rect/compressed" in told


def test_a_named_pair_is_scored(two_pairs_bag, tmp_path):
    words = [*EVAL, str(two_pairs_bag), "--output", str(tmp_path), "--cameras", *PAIR]
    assert main(words) == 0
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["about"]["cameras"] == list(PAIR) and told["frames"] == 1


@pytest.mark.parametrize(
    ("cameras", "words"),
    [
        (PAIR[:1], "1 image topics were named, the cameras are 2: left, right"),
        (("/nothing", PAIR[1]), "no topic /nothing"),
        (("/ground_truth/camera_color/left/semantic", PAIR[1]), "no camera_info beside"),
    ],
)
def test_topics_that_cannot_be_used_are_named(cameras, words, two_pairs_bag, capsys):
    assert main([*EVAL, str(two_pairs_bag), "--cameras", *cameras]) == 2
    assert words in sentence(capsys)


def test_floors_with_depth_take_the_named_pair(two_pairs_bag, tmp_path, capsys):
    maps, bag = str(tmp_path / "floors.npz"), str(two_pairs_bag)
    assert main(["floors", "--train", bag, "--output", maps]) == 0
    words = ["floors", bag, "--maps", maps, "--depth"]
    assert main(words) == 2 and "--cameras LEFT RIGHT" in sentence(capsys)
    assert main([*words, "--cameras", *PAIR]) == 0
    assert "depth stand-in" in capsys.readouterr().out
    assert main([*words[:-1], "--cameras", *PAIR]) == 2
    assert "--cameras belong to --depth" in sentence(capsys)
