import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.rosbag2 import StoragePlugin, Writer

from bags.sample_bags import PERIOD_NS, START_NS, write_stereo_bag
from occ_perception.bags.messages import MessageTypes
from occ_perception.bags.reader import BagReader
from occ_perception.core.errors import BagError


@pytest.fixture(scope="module")
def bag_path(tmp_path_factory):
    return write_stereo_bag(tmp_path_factory.mktemp("bags") / "bag", frames=6)


def write_split_bag(path, plugin):
    """Image stamps 0..9 through rosbags alone, as an independent writer."""
    types = MessageTypes()
    description = types.description("std_msgs/msg/Header")
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connection = writer.add_connection(
            "/h", "std_msgs/msg/Header", msgdef=description[0], rihs01=description[1]
        )
        for i in range(10):
            data = types.encode("std_msgs/msg/Header", {"frame_id": f"f{i}"})
            writer.write(connection, 100 + i, data)
    return path


def test_inventory(bag_path):
    with BagReader(bag_path) as bag:
        assert {t.name: t.count for t in bag.topics.values()} == {
            "/tf_static": 1,
            "/tf": 6,
            "/camera/left/image_rect": 6,
            "/camera/left/camera_info": 6,
            "/camera/right/image_rect": 6,
            "/camera/right/camera_info": 6,
        }
        assert bag.message_count == 31
        assert (bag.start_ns, bag.end_ns) == (START_NS, START_NS + 5 * PERIOD_NS)
        assert bag.topics["/tf_static"].qos.latched


def test_a_file_of_a_bag_is_a_bag(bag_path):
    with BagReader(bag_path) as folder, BagReader(bag_path / "bag.mcap") as file:
        assert list(folder.messages()) == list(file.messages())


def test_messages_come_undecoded_in_order(bag_path):
    with BagReader(bag_path) as bag:
        messages = list(bag.messages())
        times = [m.time_ns for m in messages]
        assert times == sorted(times)
        images = [m for m in messages if m.topic == "/camera/left/image_rect"]
        assert [int(bag.decode(m).data[0]) for m in images] == list(range(6))
        assert all(bag.stamp_ns(m) == m.time_ns for m in images)
        assert all(type(m.data) is bytes for m in messages)


@given(first=st.integers(-2, 7), last=st.integers(-2, 7))
def test_filters_equal_filtering_by_hand(bag_path, first, last):
    start, stop = START_NS + first * PERIOD_NS, START_NS + last * PERIOD_NS
    wanted = ["/tf", "/camera/left/image_rect"]
    with BagReader(bag_path) as bag:
        by_hand = [m for m in bag.messages() if m.topic in wanted and start <= m.time_ns < stop]
        assert list(bag.messages(wanted, start_ns=start, stop_ns=stop)) == by_hand


@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_both_storages_of_ros2(tmp_path, plugin):
    with BagReader(write_split_bag(tmp_path / "bag", plugin)) as bag:
        assert [bag.decode(m).frame_id for m in bag.messages()] == [f"f{i}" for i in range(10)]
        assert (bag.start_ns, bag.end_ns) == (100, 109)


@pytest.mark.parametrize("name", ["talker_mcap", "talker_sqlite3"])
def test_bags_of_rosbag2_itself(shared_dir, name):
    with BagReader(shared_dir / "data/rosbag2" / name) as bag:
        words = [bag.decode(m).data for m in bag.messages(["/topic"])]
        assert words == [f"Hello, world! {i}" for i in range(10)]
        assert [bag.decode(m).name for m in bag.messages(["/rosout"])]
        assert bag.topics["/parameter_events"].count == 0


def test_ros1_bag_becomes_ros2_messages(shared_dir):
    with BagReader(shared_dir / "data/rosbag1/example.bag") as bag:
        assert bag.message_count == 8647 == sum(1 for _ in bag.messages())
        assert bag.topics["/tf"].msgtype == "tf2_msgs/msg/TFMessage"
        assert bag.topics["/tf_static"].qos.latched
        first = next(bag.messages(["/tf"]))
        move = bag.decode(first).transforms[0]
        assert move.header.frame_id == "world"
        # Read by the definitions of this machine: the bytes are ROS 2's, without `seq`.
        assert MessageTypes().decode(first.msgtype, first.data) == bag.decode(first)
        pose = bag.decode(next(bag.messages(["/turtle1/pose"])))
        assert 0 < pose.x < 12


def test_real_stereo_bag(shared_dir):
    with BagReader(shared_dir / "data/rosbag2_from_real/kitti_06") as bag:
        images = list(bag.messages(["/camera/left/image_rect/compressed"]))
        assert len(images) == 6
        assert bytes(bag.decode(images[0]).data[:4]) == b"\x89PNG"


def test_absent_topic_lists_what_is_there(bag_path):
    with BagReader(bag_path) as bag, pytest.raises(BagError, match=r"no topic /x; it has /tf_st"):
        list(bag.messages(["/x"]))


def test_nothing_there(tmp_path):
    with pytest.raises(BagError, match="no bag at"):
        BagReader(tmp_path / "missing").__enter__()


def test_empty_folder(tmp_path):
    with pytest.raises(BagError, match="holds no bag"):
        BagReader(tmp_path).__enter__()


def test_other_file(tmp_path):
    (tmp_path / "notes.txt").write_text("no bag")
    with pytest.raises(BagError, match="is no bag"):
        BagReader(tmp_path / "notes.txt").__enter__()


def test_bag_without_metadata_names_the_file(tmp_path, bag_path):
    shutil.copy(bag_path / "bag.mcap", tmp_path)
    with pytest.raises(BagError, match=r"no metadata.yaml.*bag\.mcap"):
        BagReader(tmp_path).__enter__()


def read_all(path):
    with BagReader(path) as bag:
        for message in bag.messages():
            bag.decode(message)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.02, 0.5, 0.9, 0.999])
def test_truncated_mcap(tmp_path, bag_path, part):
    content = (bag_path / "bag.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(content[: int(len(content) * part)])
    with pytest.raises(BagError, match="truncated or damaged"):
        read_all(tmp_path / "cut.mcap")


@pytest.mark.parametrize("part", [0.0, 0.3, 0.6])
def test_truncated_sqlite(tmp_path, part):
    write_split_bag(tmp_path / "bag", StoragePlugin.SQLITE3)
    file = tmp_path / "bag/bag.db3"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(BagError, match="truncated or damaged"):
        read_all(tmp_path / "bag")


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
def test_truncated_ros1(tmp_path, shared_dir, part):
    content = (shared_dir / "data/rosbag1/example.bag").read_bytes()
    (tmp_path / "cut.bag").write_bytes(content[: int(len(content) * part)])
    with pytest.raises(BagError, match="truncated or damaged"):
        read_all(tmp_path / "cut.bag")


@pytest.mark.parametrize("text", ["", "nonsense: [", "rosbag2_bagfile_information: {version: 9}"])
def test_broken_metadata(tmp_path, bag_path, text):
    shutil.copytree(bag_path, tmp_path / "bag")
    (tmp_path / "bag/metadata.yaml").write_text(text)
    with pytest.raises(BagError, match="truncated or damaged"):
        read_all(tmp_path / "bag")


@given(st.data())
def test_no_changed_byte_raises_anything_else(tmp_path_factory, bag_path, data):
    content = bytearray((bag_path / "bag.mcap").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("changed") / "bag.mcap"
    path.write_bytes(content)
    try:
        read_all(path)
    except BagError as error:
        assert "bag" in str(error) or "message" in str(error)


def test_reading_needs_an_open_bag(bag_path):
    with pytest.raises(BagError, match="`with` block"):
        next(BagReader(bag_path).messages())
