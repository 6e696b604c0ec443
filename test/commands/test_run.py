import dataclasses
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import tyro

from occ_perception.bags.reader import BagReader
from occ_perception.bags.rigs import named_rig
from occ_perception.bags.stereo import find_stereo
from occ_perception.bags.writer import BagWriter
from occ_perception.core.errors import BagError, ConfigError, WeightsError
from occ_perception.ros.launch_arguments import LaunchArguments, from_values
from occ_perception.ros.launch_plan import plan

pytestmark = pytest.mark.ros
OCC = [sys.executable, "-m", "occ_perception.cli"]
LEFT = "/camera_color/left/image_rect/compressed"


def stamps(path, topic):
    with BagReader(path) as bag:
        return [bag.stamp_ns(message) for message in bag.messages([topic])]


def test_options_are_the_launch_arguments():
    from occ_perception.commands.run import options_class

    def given(system, *words):
        options = tyro.cli(options_class(system), args=words)
        return from_values(system, dataclasses.asdict(options))

    assert given("vlscene") == given("scenedino") == LaunchArguments()
    words = ["--no-wait", "--rate", "2", "--cam-back-info", "/b"]
    assert given("langocc", *words, "--prompts", "car, bus") == LaunchArguments(
        wait=False, rate=2.0, infos={"CAM_BACK": "/b"}, prompts=("car", "bus")
    )


def test_help_names_the_systems_and_options_come_after_one(capsys):
    from occ_perception.commands.run import main

    assert main([]) == 0
    assert "gaussianflowocc" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="name the system first: "):
        main(["--bag", "x"])


@pytest.mark.parametrize("compressed", [False, True])
def test_play_sends_the_pair_to_where_the_node_listens(compressed, street_bag):
    from occ_perception.commands.play import PlayOptions, remap_rules

    options = PlayOptions(bag=street_bag, to="vlscene", wait=True).playback()
    assert options.wait_for == "/vlscene_node/latency"
    assert options.anchor == LEFT
    images = {"left": "/l/image", "right": "/r/image"}
    rig = named_rig(images, {}, compressed=compressed)
    arguments = LaunchArguments(output="x", compressed=compressed)
    recorder = next(p for p in plan("vlscene", arguments) if p.name == "bag_recorder")
    for rule in remap_rules(rig):
        assert rule.split(":=")[1] in recorder.arguments


def test_wait_needs_somebody_to_wait_for(street_bag):
    from occ_perception.commands.play import PlayOptions

    with pytest.raises(ConfigError, match="--to"):
        PlayOptions(bag=street_bag, wait=True).playback()
    for wait in (True, False):
        with pytest.raises(ConfigError, match="unknown system 'vlsene'; did you mean 'vlscene'"):
            PlayOptions(bag=street_bag, to="vlsene", wait=wait).playback()


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ({"preset": "nono"}, ConfigError, "no preset 'nono'; available: published, nano"),
        ({"weights": "no.safetensors"}, WeightsError, "'no.safetensors' does not exist"),
        ({"output": __file__}, BagError, "is no bag"),
        ({"bag": "/nowhere"}, BagError, "there is no bag at /nowhere"),
    ],
)
def test_what_would_fail_is_refused_before_anything_starts(given, error, sentence, street_bag):
    from occ_perception.commands.running import prepared

    with pytest.raises(error, match=sentence):
        prepared("vlscene", LaunchArguments(**{"bag": str(street_bag), **given}))


def test_demo_takes_the_published_network_only_where_it_is_wanted(monkeypatch):
    import torch
    from rich.console import Console

    from occ_perception.commands.demo import DemoOptions, choose_preset

    console = Console(quiet=True)
    for has_gpu, preset in ((True, "published"), (False, "nano")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=has_gpu: found)
        assert choose_preset(DemoOptions(), console) == preset
    assert choose_preset(DemoOptions(weights="w.safetensors"), console) == "published"
    assert choose_preset(DemoOptions(weights="random"), console) == "nano"


def test_computed_street_is_made_once(monkeypatch, tmp_path):
    from rich.console import Console

    from occ_perception.commands.streets import AROUND, PAIR, compute
    from occ_training.convert import runner
    from occ_training.convert.report import Report

    made = []

    def write(scene, folder, *_):
        made.append(scene)
        (folder / scene.name).mkdir(parents=True)
        (folder / scene.name / "metadata.yaml").touch()
        return Report(scene.name)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(runner, "convert_scene", write)
    console = Console(quiet=True)
    first = compute(PAIR, 2, 7, console)
    assert compute(PAIR, 2, 7, console) == first
    others = {compute(PAIR, 2, 8, console), compute(PAIR, 3, 7, console)}
    assert len({first, *others, compute(AROUND, 2, 7, console)}) == 4
    assert len(made) == 4 and tmp_path in first.parents
    assert made[0].config.landmark and made[0].cameras == ("image_2", "image_3")


def test_a_street_that_cannot_be_written_ends_the_demo(monkeypatch, tmp_path):
    from rich.console import Console

    from occ_perception.commands.streets import Street, compute

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "occ_perception").write_text("no folder")
    with pytest.raises(BagError, match="occ_perception"):
        compute(Street("kitti", "tiny"), 1, 7, Console(quiet=True))


def test_run_on_a_bag_answers_every_pair_and_ends(street_bag, tmp_path):
    """Player, node and recorder are processes of their own; the small preset, all of the way."""
    output = tmp_path / "answers"
    words = ["--preset", "nano", "--weights", "random", "--device", "cpu"]
    words += ["--bag", street_bag, "--output", output]
    done = subprocess.run([*OCC, "run", "vlscene", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "RANDOM" in done.stdout
    assert "published" in done.stdout and "infer" in done.stdout
    asked = stamps(street_bag, LEFT)
    assert stamps(output, "/vlscene_node/voxels") == asked
    assert stamps(output, "/vlscene_node/latency") == asked
    with BagReader(output) as bag:
        # The bag can be looked at alone: images, calibration, transforms, and what ids mean.
        assert find_stereo(bag).left_image == LEFT
        assert {"/tf", "/tf_static", "/vlscene_node/label_map"} <= bag.topics.keys()
        grid = bag.decode(next(bag.messages(["/vlscene_node/grid"])))
        voxels = bag.decode(next(bag.messages(["/vlscene_node/voxels"])))
    assert voxels.labels.size == 256 * 256 * 32
    # Behind the robot's shoulders no camera looks: unknown, never free.
    cells = np.asarray(grid.data).reshape(grid.info.height, grid.info.width)
    assert cells[0, 0] == cells[-1, 0] == -1


def test_run_without_a_bag_ends_well_on_ctrl_c(tmp_path):
    words = ["run", "vlscene", "--preset", "nano", "--device", "cpu"]
    with subprocess.Popen(
        [*OCC, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        giving_up = threading.Timer(120, process.kill)
        giving_up.start()
        for line in process.stdout:
            if "active; images from /left/image_rect" in line:
                break
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate()
        giving_up.cancel()
    assert process.returncode == 0, rest + errors
    assert "Traceback" not in rest + errors


def test_a_node_that_cannot_start_ends_the_run_with_its_sentence(street_bag, tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text("/**:\n  ros__parameters:\n    system: {gewicht: x}\n")
    output = tmp_path / "answers"
    words = ["--params", params, "--bag", street_bag, "--output", output]
    done = subprocess.run(
        [*OCC, "run", "vlscene", *words], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 2
    assert "vlscene_node ended with code 1" in done.stderr and "gewicht" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_bag_without_static_transforms_ends_with_the_reason(street_bag, tmp_path):
    """Nothing is recorded either: what is wrong must still be said at the end."""
    path = tmp_path / "floating"
    with BagReader(street_bag) as source, BagWriter(path) as bag:
        for message in source.messages():
            if not message.topic.startswith(("/tf_static", "/ground_truth")):
                bag.add_topic(message.topic, message.msgtype)
                bag.write(message.topic, message.time_ns, message.data)
    words = ["--preset", "nano", "--device", "cpu", "--bag", path]
    done = subprocess.run([*OCC, "run", "vlscene", *words], capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.strip().endswith("0 published, 2 dropped (no transform)")


def test_answers_that_the_recorder_missed_are_not_passed_over():
    from occ_perception.commands.running import check_complete
    from occ_perception.commands.summary import Summary
    from occ_perception.ros.watching import AnswerWatch

    watch = AnswerWatch("/vlscene_node/latency")
    watch.published, watch.dropped["no transform"] = 2, 1
    complete = Summary(published=2)
    complete.dropped["no transform"] = 1
    check_complete(complete, watch, "out")
    with pytest.raises(BagError, match=r"bag out holds 2 of 3 answers.*run again"):
        check_complete(Summary(published=2), watch, "out")
