"""Player and recorder as processes of their own, over real DDS."""

import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import contextmanager
from itertools import pairwise
from threading import Thread

import pytest
from bags.sample_bags import START_NS, write_stereo_bag
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from occ_perception.bags.messages import MessageTypes
from occ_perception.bags.reader import BagReader
from occ_perception.bags.writer import BagWriter

pytestmark = pytest.mark.ros

LEFT, RIGHT = "/camera/left/image_rect", "/camera/right/image_rect"
LIMIT_S = 60  # only against hanging; nothing is measured


def program(name, *arguments):
    """Start a program of the package as `ros2 run` would."""
    command = [sys.executable, "-m", f"occ_perception.nodes.{name}", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )


def finished(process, code=0):
    """Output of a process that has to end by itself with this exit code."""
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"still running: {process.communicate()[0]}")
    assert process.returncode == code, output
    assert "Traceback" not in output
    return output


def interrupted(process, number=signal.SIGINT):
    process.send_signal(number)
    return finished(process)


def wait_until(condition, process=None):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


@contextmanager
def ros_node(name):
    """A node that is spun in a thread."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node(name, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = Thread(target=executor.spin)
    thread.start()
    try:
        yield node
    finally:
        executor.shutdown()
        thread.join()
        node.destroy_node()
        rclpy.shutdown(context=context)


def sensor_data():
    from rclpy.qos import qos_profile_sensor_data

    return qos_profile_sensor_data


def contents(path):
    """Messages by topic in the order of the bag. DDS pads them with zeros to whole words."""
    found = defaultdict(list)
    with BagReader(path) as bag:
        for m in bag.messages():
            found[m.topic].append((m.time_ns, m.data + bytes(-len(m.data) % 4)))
    return dict(found)


@pytest.fixture(scope="module")
def small_bag(tmp_path_factory):
    return write_stereo_bag(tmp_path_factory.mktemp("bags") / "small", frames=5)


def record(tmp_path, topics, *options):
    ready = tmp_path / "ready"
    recorder = program(
        "bag_recorder", tmp_path / "recorded", "--ready-file", ready, *options, "--topics", *topics
    )
    return recorder, ready


def test_played_and_recorded_is_the_same_bag(tmp_path):
    source = write_stereo_bag(tmp_path / "source", frames=8, height=376, width=1241)
    expected = contents(source)
    recorder, ready = record(tmp_path, expected)
    player = program("bag_player", source, "--subscriber-timeout", LIMIT_S)
    assert "41 messages" in finished(player)
    assert ready.exists()
    output = interrupted(recorder)
    assert "lost" not in output
    assert contents(tmp_path / "recorded") == expected
    with BagReader(source) as a, BagReader(tmp_path / "recorded") as b:
        assert b.topics["/tf_static"].qos.latched
        assert {t: a.description(t) for t in a.topics} == {t: b.description(t) for t in b.topics}


def test_sensor_data_subscribers_get_every_image_and_the_clock_before_it(small_bag):
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import Image

    log = []
    with ros_node("listener") as node:
        node.create_subscription(
            Clock,
            "/clock",
            lambda m: log.append(("clock", m.clock.sec * 10**9 + m.clock.nanosec)),
            100,
        )
        node.create_subscription(
            Image,
            LEFT,
            lambda m: log.append(("image", m.header.stamp.sec * 10**9 + m.header.stamp.nanosec)),
            sensor_data(),
        )
        finished(program("bag_player", small_bag, "--rate", "0.5"))
        wait_until(lambda: sum(kind == "image" for kind, _ in log) == 5)
    clock = [ns for kind, ns in log if kind == "clock"]
    assert all(a <= b for a, b in pairwise(clock))
    assert len(clock) > 60  # 0.8 s at 100 Hz, and one tick for each of 26 messages
    with BagReader(small_bag) as bag:
        assert {m.time_ns for m in bag.messages()} <= set(clock)


def test_player_waits_for_every_answer(small_bag):
    from sensor_msgs.msg import Image

    from occ_msgs.msg import FrameLatency

    log = []
    with ros_node("slow") as node:
        answers = node.create_publisher(FrameLatency, "/slow/latency", 10)

        def on_image(message):  # the executor has one thread: while it sleeps, images queue
            log.append(("image", message.header.stamp))
            time.sleep(0.3)
            log.append(("answer", message.header.stamp))
            answer = FrameLatency(outcome=FrameLatency.PUBLISHED)
            answer.header.stamp = message.header.stamp
            answers.publish(answer)

        node.create_subscription(Image, LEFT, on_image, sensor_data())
        player = program("bag_player", small_bag, "--rate", "inf", "--wait-for", "/slow/latency")
        assert "26 messages" in finished(player)
        assert [kind for kind, _ in log] == ["image", "answer"] * 5


def test_player_gives_up_when_answers_do_not_come(small_bag):
    from sensor_msgs.msg import Image

    from occ_msgs.msg import FrameLatency

    with ros_node("silent") as node:
        node.create_publisher(FrameLatency, "/silent/latency", 10)
        node.create_subscription(Image, LEFT, lambda _: None, sensor_data())
        lockstep = ("--wait-for", "/silent/latency", "--answer-timeout", "0.5")
        output = finished(program("bag_player", small_bag, *lockstep), code=1)
    assert f"no answer to {LEFT} stamped 1700000000.0" in output.replace("\n", "")


def test_loop_plays_until_it_is_stopped(small_bag):
    from sensor_msgs.msg import Image

    stamps = []
    with ros_node("listener") as node:
        node.create_subscription(
            Image, LEFT, lambda m: stamps.append(m.header.stamp.nanosec), sensor_data()
        )
        player = program("bag_player", small_bag, "--loop", "--rate", "4")
        wait_until(lambda: len(stamps) > 12, player)
        interrupted(player)
    assert stamps[:12] == [0, 10**8, 2 * 10**8, 3 * 10**8, 4 * 10**8] * 2 + [0, 10**8]


def test_pause_by_service(small_bag):
    from sensor_msgs.msg import Image
    from std_srvs.srv import SetBool

    stamps = []
    with ros_node("listener") as node:
        pause = node.create_client(SetBool, "/bag_player/pause")
        node.create_subscription(
            Image, LEFT, lambda m: stamps.append(m.header.stamp.nanosec), sensor_data()
        )
        player = program("bag_player", small_bag, "--loop")
        wait_until(lambda: stamps, player)
        done = pause.call_async(SetBool.Request(data=True))
        wait_until(done.done, player)
        time.sleep(0.2)  # what was on its way
        count = len(stamps)
        time.sleep(0.5)
        assert len(stamps) == count
        pause.call_async(SetBool.Request(data=False))
        wait_until(lambda: len(stamps) > count, player)
        interrupted(player, signal.SIGTERM)


def test_late_subscribers_get_the_static_transforms(small_bag):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from sensor_msgs.msg import Image
    from tf2_msgs.msg import TFMessage

    images, transforms = [], []
    with ros_node("listener") as node:
        node.create_subscription(Image, LEFT, images.append, sensor_data())
        player = program("bag_player", small_bag, "--rate", "0.1")
        wait_until(lambda: len(images) >= 2, player)
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(TFMessage, "/tf_static", transforms.append, latched)
        wait_until(lambda: transforms, player)
        interrupted(player)
    assert transforms[0].transforms[0].child_frame_id == "camera"


def test_ros_arguments_and_remapping(small_bag):
    from sensor_msgs.msg import Image

    left, right = [], []
    with ros_node("listener") as node:
        node.create_subscription(Image, "/other/left", left.append, sensor_data())
        node.create_subscription(Image, "/other/right", right.append, sensor_data())
        own = ("--remap", f"{LEFT}:=/other/left", "--topics", LEFT, RIGHT)
        ros = ("--ros-args", "-r", f"{RIGHT}:=/other/right", "-r", "__node:=tape")
        finished(program("bag_player", small_bag, *own, *ros))
        wait_until(lambda: len(left) == len(right) == 5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--topics", "/nothing"], "has no topic /nothing; it has /tf_static"),
        (["--rate", "0"], "rate is 0.0: give a positive number"),
        (["--start", "99"], "nothing to play from 99.0 s"),
        (["--remap", "/a=/b"], "remap rule '/a=/b' is not /OLD:=/NEW"),
        (["--wait-for", "/l", "--anchor", "/nothing"], "has no topic /nothing"),
    ],
)
def test_wrong_options_are_one_sentence(small_bag, options, sentence):
    output = finished(program("bag_player", small_bag, *options), code=1)
    assert sentence in output.replace("\n", " ")


def test_wrong_bags_are_one_sentence(tmp_path, small_bag):
    assert "no bag at" in finished(program("bag_player", tmp_path / "missing"), code=1)
    cut = (small_bag / "small.mcap").read_bytes()[:-100]
    (tmp_path / "cut.mcap").write_bytes(cut)
    assert "truncated or damaged" in finished(program("bag_player", tmp_path / "cut.mcap"), code=1)


def test_types_of_another_version_are_left_out(tmp_path):
    """Their bytes would be read as something else."""
    foreign = MessageTypes(get_typestore(Stores.EMPTY))
    with BagWriter(tmp_path / "bag") as bag:
        for topic, msgtype in (
            ("/grid", "occ_msgs/msg/VoxelGrid"),
            ("/pose", "turtlesim/msg/Pose"),
        ):
            foreign.learn(get_types_from_msg("uint32 other", msgtype))
            bag.add_topic(topic, msgtype, description=foreign.description(msgtype))
            bag.write(topic, START_NS, foreign.encode(msgtype, {"other": 1}))
        bag.write_message("/word", "std_msgs/msg/String", START_NS, {"data": "x"})
    output = finished(program("bag_player", tmp_path / "bag")).replace("\n", " ")
    assert "/grid is left out: the bag has another version of occ_msgs/msg/VoxelGrid" in output
    assert "/pose is left out" in output
    assert "1 messages" in output


def test_recorder_refuses_to_replace_a_bag(small_bag):
    output = finished(program("bag_recorder", small_bag, "--topics", "/a"), code=1)
    assert "exists already" in output.replace("\n", " ")


def test_recorder_says_what_never_came(tmp_path):
    recorder, ready = record(tmp_path, ["/nobody"])
    with ros_node("witness") as node:
        wait_until(lambda: ("bag_recorder", "/") in node.get_node_names_and_namespaces(), recorder)
    output = interrupted(recorder)
    assert "/nobody: nobody published it" in output
    assert not ready.exists()


def test_own_messages_are_recorded_with_the_hash_of_the_compiled_package(tmp_path):
    from rclpy.qos import DurabilityPolicy, QoSProfile

    from occ_msgs.msg import LabelMap, VoxelGrid

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    with ros_node("talker") as node:
        maps = node.create_publisher(LabelMap, "/n/label_map", latched)
        maps.publish(LabelMap(name="semantickitti"))
        grids = node.create_publisher(VoxelGrid, "/n/voxels", 5)
        recorder, ready = record(tmp_path, ["/n/voxels", "/n/label_map"], "--until-quiet", "1")
        wait_until(ready.exists, recorder)
        for i in range(3):
            grid = VoxelGrid(size_x=2, size_y=1, size_z=1)
            grid.header.stamp.sec, grid.header.stamp.nanosec = 1000, i
            grid.labels.frombytes(bytes([i, 255]))
            grids.publish(grid)
        finished(recorder)
        compiled = {
            topic: str(node.get_publishers_info_by_topic(topic)[0].topic_type_hash)
            for topic in ("/n/voxels", "/n/label_map")
        }
    with BagReader(tmp_path / "recorded") as bag:
        messages = list(bag.messages())
        assert [m.topic for m in messages] == ["/n/label_map", *["/n/voxels"] * 3]
        assert [m.time_ns - 10**12 for m in messages] == [0, 0, 1, 2]
        assert [list(bag.decode(m).labels) for m in messages[1:]] == [[0, 255], [1, 255], [2, 255]]
        assert bag.topics["/n/label_map"].qos.latched
        for topic, type_hash in compiled.items():
            assert bag.description(topic).type_hash in type_hash


def test_real_stereo_bag_survives(tmp_path, shared_dir):
    source = shared_dir / "data/rosbag2_from_real/kitti_06"
    expected = contents(source)
    recorder, _ = record(tmp_path, expected)
    finished(program("bag_player", source, "--subscriber-timeout", LIMIT_S))
    interrupted(recorder, signal.SIGTERM)
    assert contents(tmp_path / "recorded") == expected
