"""Six cameras, motion and words that go wrong: no answer rather than a wrong one, with a reason."""

import dataclasses

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.ros
in_process = pytest.importorskip("ros.in_process", reason="needs rclpy and occ_msgs")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402

from occ_msgs.msg import FrameLatency, LabelMap, VoxelGrid  # noqa: E402
from occ_msgs.srv import QueryText, SetPrompts  # noqa: E402
from occ_perception.ros import diagnostics  # noqa: E402
from occ_perception.ros.loading import Loaded  # noqa: E402
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig  # noqa: E402
from occ_perception.systems.gaussianflowocc.system import GaussianFlowOccSystem  # noqa: E402

FRAMES = 3
TINY = dataclasses.replace(
    GaussianFlowOccConfig.nano(),
    input_size=(64, 96),
    gaussians=60,
    channels=16,
    head_channels=16,
    shape=(20, 20, 16),
    origin_m=(-4.0, -4.0, -1.0),
)

BAD_WORDS = {
    ("",): "is not text",
    ("x" * 300,): "at most 200",
    ("car", "car"): "given twice",
    ("zeppelin",): "'zeppelin'",
}


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return in_process.Scene("nuscenes", FRAMES).write(tmp_path_factory.mktemp("world"))


def tiny(settings):
    torch.manual_seed(0)
    return Loaded(GaussianFlowOccSystem(settings.configured(TINY)), "cpu", "tiny")


@pytest.fixture
def running(bag):
    """A node with a tiny network, and its reports and voxels listened to."""
    rig = in_process.Running("gaussianflowocc", bag, load=tiny)
    with rig as node:
        node.listen("latency", FrameLatency)
        node.listen("voxels", VoxelGrid)
        yield node


def test_a_camera_that_falls_silent_is_named_and_its_sets_are_not_answered(running):
    running.play(frames=1)
    health = []
    running.probe.create_subscription(DiagnosticArray, "/diagnostics", health.append, 10)
    running.play(leave_out=["/cam_back/image"], frames=2)
    first, *others = running.outcomes()
    assert first == "published"
    assert set(others) == {"no CAM_BACK image within 0.06 s"}
    assert len(running.received["voxels"]) == 1
    stale = running.spin_until(
        lambda: [m.status[0] for m in health if m.status[0].level == diagnostics.STALE],
        "a diagnosis",
    )
    assert "cam_back/image" in stale[-1].message


def test_a_camera_without_transform_is_never_put_at_the_origin(running):
    def without_back(topic, message):
        if topic == "/tf_static":
            kept = [t for t in message.transforms if t.child_frame_id != "cam_back_optical"]
            message.transforms = kept
        return message

    running.play(change=without_back, frames=1)
    assert running.outcomes() == ["no transform"]
    assert not running.received["voxels"]


def test_without_motion_every_set_stands_alone_and_the_cure_is_told(running, capfd):
    def without_motion(topic, message):
        return None if topic == "/tf" else message

    running.play(change=without_motion, frames=2)
    assert running.outcomes() == ["published"] * 2
    text = capfd.readouterr().err
    assert text.count("the robot's motion is not known") == 1
    assert "frames.use_odometry" in text


def test_a_bag_that_begins_again_is_answered_again_from_a_clean_history(running):
    running.play()
    running.play()
    assert running.outcomes().count("published") == 2 * FRAMES
    first, again = (running.received["voxels"][k] for k in (0, FRAMES))
    assert first.header.stamp == again.header.stamp
    assert first.labels == again.labels


def test_nan_is_counted_and_never_published(running):
    with torch.no_grad():
        running.node._pipeline.loaded.system.network.initial_means.fill_(torch.nan)
    running.play(frames=2)
    assert running.outcomes() == ["bad prediction"] * 2
    assert not running.received["voxels"]


def test_the_reach_may_change_while_the_node_runs(running):
    import rclpy

    system = running.node._pipeline.loaded.system
    running.play(frames=1)
    assert system.reach == 4
    parameter = rclpy.Parameter("gaussians.reach", value=1)
    assert running.node.set_parameters([parameter])[0].successful
    refused = running.node.set_parameters([rclpy.Parameter("gaussians.reach", value=0)])[0]
    assert not refused.successful and "Min: 1" in refused.reason
    running.play(frames=1)
    assert system.reach == 1


def test_odometry_is_taken_where_it_is_wanted_and_a_jump_ends_the_history(bag, capfd):
    words = ("-p", "frames.use_odometry:=true")
    with in_process.Running("gaussianflowocc", bag, *words, load=tiny) as node:
        node.listen("latency", FrameLatency)
        node.listen("voxels", VoxelGrid)
        stamps = front_stamps(bag)
        for k, x_m in enumerate((0.0, 3.0, 500.0)):  # a jump before the last set
            for shift_ns in (-10_000_000, 10_000_000):
                node.send_odometry(stamps[k] + shift_ns, x_m)
        node.spin_for(0.3)
        node.play(change=lambda topic, message: None if topic == "/tf" else message)
        assert node.outcomes() == ["published"] * FRAMES
    text = capfd.readouterr().err
    assert "the pose jumped by 497.0 m" in text
    assert "motion is not known" not in text


def front_stamps(bag):
    from occ_perception.bags.reader import BagReader

    with BagReader(bag) as reader:
        topic = next(t for t in reader.topics if t.startswith("/cam_front/image"))
        return [reader.stamp_ns(m) for m in reader.messages([topic])]


def test_words_may_change_while_the_node_runs(bag):
    with in_process.Running("langocc", bag) as node:
        node.listen("latency", FrameLatency)
        voxels = node.listen("voxels", VoxelGrid)
        maps = node.listen("label_map", LabelMap, latched=True)
        empty = node.call(QueryText, "query_text", text="car", threshold=0.0)
        assert not empty.success and "not seen a frame" in empty.message
        node.play(frames=1)

        changed = node.call(SetPrompts, "set_prompts", prompts=["car", "tree"])
        assert changed.success and changed.active == ["car", "tree"]
        for bad, words in BAD_WORDS.items():
            refused = node.call(SetPrompts, "set_prompts", prompts=list(bad))
            assert not refused.success and words in refused.message
            assert refused.active == ["car", "tree"]
        node.play(frames=1)
        assert voxels[0].label_map == maps[0].name == "occ3d_nuscenes"
        assert voxels[1].label_map == maps[-1].name != "occ3d_nuscenes"
        assert maps[-1].names == ["car", "tree", "something else", "free"]
        assert set(np.unique(voxels[1].labels)) <= set(maps[-1].ids)

        grid = node.call(QueryText, "query_text", text="car", threshold=-1.0)
        assert grid.success and set(np.unique(grid.grid.labels)) == {1}
        assert grid.grid.header.stamp == voxels[1].header.stamp
        assert len(np.unique(grid.grid.probability)) > 1
        back = node.call(SetPrompts, "set_prompts", prompts=[])
        assert back.success and "car" in back.active and len(back.active) > 5


def test_words_that_cannot_be_used_keep_the_node_from_starting(bag, capfd):
    rig = in_process.Running("langocc", bag, prompts=("car", "zeppelin"))
    try:
        assert not rig.node.start()
        assert "no vector for 'zeppelin'" in capfd.readouterr().err
    finally:
        rig.__exit__()
