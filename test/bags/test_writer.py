import errno
import os

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from mcap.reader import make_reader

from bags.sample_bags import START_NS, image, write_stereo_bag
from occ_perception.bags.messages import MessageTypes
from occ_perception.bags.reader import BagReader
from occ_perception.bags.topics import TopicQos
from occ_perception.bags.writer import BagWriter, check_target
from occ_perception.core.errors import BagError

STRING = "std_msgs/msg/String"


def text(value):
    return MessageTypes().encode(STRING, {"data": value})


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["/a", "/b", "/c"]), st.integers(0, 2**40), st.binary(max_size=50)
        ),
        max_size=40,
    )
)
def test_round_trip(tmp_path_factory, messages):
    path = tmp_path_factory.mktemp("bags") / "bag"
    with BagWriter(path) as bag:
        for topic in ("/a", "/b", "/c"):
            bag.add_topic(topic, STRING)
        for topic, time_ns, data in messages:
            bag.write(topic, time_ns, data)
    with BagReader(path) as bag:
        read = [(m.topic, m.time_ns, m.data) for m in bag.messages()]
        assert set(bag.topics) == {"/a", "/b", "/c"}
    # Sorting is stable: messages of one time keep the order in which they were written.
    assert read == sorted(messages, key=lambda m: m[1])


def test_large_messages_out_of_order_over_many_chunks(tmp_path):
    rng = np.random.default_rng(0)
    times = rng.permutation(40)
    with BagWriter(tmp_path / "bag") as bag:
        for t in times:
            bag.write_message(
                "/i", "sensor_msgs/msg/Image", int(t), image(int(t), int(t), 200, 300)
            )
    with BagReader(tmp_path / "bag") as bag:
        assert [int(bag.decode(m).data[-1]) for m in bag.messages()] == list(range(40))
        assert [m.time_ns for m in bag.messages(start_ns=10, stop_ns=20)] == list(range(10, 20))


def test_other_readers_understand_the_file(tmp_path):
    """The mcap library checks structure; Foxglove needs the definitions that it shows."""
    write_stereo_bag(tmp_path / "bag", frames=3)
    with BagWriter(tmp_path / "voxels") as bag:
        bag.write_message("/v", "occ_msgs/msg/VoxelGrid", 1, {"labels": b"\x01\x02"})
        bag.write_message("/l", "occ_msgs/msg/FrameLatency", 2, {"stages": [{"stage": "infer"}]})
    for name, count in (("bag", 16), ("voxels", 2)):
        with (tmp_path / name / f"{name}.mcap").open("rb") as stream:
            reader = make_reader(stream, validate_crcs=True)
            assert reader.get_header().profile == "ros2"
            records = list(reader.iter_messages())
            assert len(records) == count
            definitions = {schema.name: schema.data.decode() for schema, _, _ in records}
            assert {schema.encoding for schema, _, _ in records} == {"ros2msg"}
            assert {channel.message_encoding for _, channel, _ in records} == {"cdr"}
    assert "uint8[] labels" in definitions["occ_msgs/msg/VoxelGrid"]
    assert "MSG: occ_msgs/StageTime" in definitions["occ_msgs/msg/FrameLatency"]


def test_metadata_is_what_rosbag2_of_jazzy_writes(tmp_path):
    write_stereo_bag(tmp_path / "bag", frames=3)
    metadata = yaml.safe_load((tmp_path / "bag/metadata.yaml").read_text())
    info = metadata["rosbag2_bagfile_information"]
    assert (info["version"], info["storage_identifier"]) == (9, "mcap")
    assert info["relative_file_paths"] == ["bag.mcap"]
    assert info["message_count"] == 16
    topics = {
        t["topic_metadata"]["name"]: t["topic_metadata"] for t in info["topics_with_message_count"]
    }
    assert topics["/tf_static"]["offered_qos_profiles"][0]["durability"] == "transient_local"
    assert topics["/tf"]["offered_qos_profiles"][0]["durability"] == "volatile"
    # The hash of sensor_msgs/msg/CameraInfo in ROS 2 Jazzy.
    assert topics["/camera/left/camera_info"]["type_description_hash"] == (
        "RIHS01_b3dfd68ff46c9d56c80fd3bd4ed22c7a4ddce8c8348f2f59c299e73118e7e275"
    )


def test_copied_topics_keep_their_definition(tmp_path, shared_dir):
    with (
        BagReader(shared_dir / "data/rosbag1/example.bag") as source,
        BagWriter(tmp_path / "copy") as copy,
    ):
        for topic in source.topics.values():
            copy.add_topic(
                topic.name, topic.msgtype, qos=topic.qos, description=source.description(topic.name)
            )
        for message in source.messages():
            copy.write(message.topic, message.time_ns, message.data)
    with (
        BagReader(shared_dir / "data/rosbag1/example.bag") as source,
        BagReader(tmp_path / "copy") as copy,
    ):
        poses = [[b.decode(m).x for m in b.messages(["/turtle1/pose"])] for b in (source, copy)]
        assert poses[0] == poses[1]
        assert copy.topics["/tf_static"].qos == source.topics["/tf_static"].qos


def test_announced_topics_are_there_without_messages(tmp_path):
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/empty", STRING, qos=TopicQos(reliable=False, depth=3))
    with BagReader(tmp_path / "bag") as bag:
        assert bag.topics["/empty"].count == 0
        assert bag.topics["/empty"].qos == TopicQos(reliable=False, depth=3)
        assert list(bag.messages()) == []
        assert bag.start_ns == bag.end_ns == 0


def test_nothing_stands_under_the_name_before_the_end(tmp_path):
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/a", STRING)
        bag.write("/a", 1, text("x"))
        assert not (tmp_path / "bag").exists()
    assert (tmp_path / "bag/metadata.yaml").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["bag"]


def test_a_failing_block_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/a", STRING)
        bag.write("/a", 1, text("x"))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def words(path):
    with BagReader(path) as bag:
        return [bag.decode(m).data for m in bag.messages()]


def write_words(path, *values, **options):
    with BagWriter(path, **options) as bag:
        for i, value in enumerate(values):
            bag.write_message("/a", STRING, i, {"data": value})


def test_a_bag_is_not_replaced_unasked(tmp_path):
    write_words(tmp_path / "bag", "old")
    with pytest.raises(BagError, match="exists already"):
        write_words(tmp_path / "bag", "new")
    assert words(tmp_path / "bag") == ["old"]


def test_a_bag_is_replaced_when_asked(tmp_path):
    write_words(tmp_path / "bag", "old", "older")
    write_words(tmp_path / "bag", "new", overwrite=True)
    assert words(tmp_path / "bag") == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["bag"]


def test_a_failing_replacement_keeps_the_old_bag(tmp_path):
    write_words(tmp_path / "bag", "old")
    with pytest.raises(ZeroDivisionError), BagWriter(tmp_path / "bag", overwrite=True):
        raise ZeroDivisionError
    assert words(tmp_path / "bag") == ["old"]


def test_other_folders_are_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/holiday.jpg").write_bytes(b"precious")
    with pytest.raises(BagError, match="is no bag"):
        write_words(tmp_path / "photos", "new", overwrite=True)
    assert (tmp_path / "photos/holiday.jpg").read_bytes() == b"precious"


def test_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(BagError, match="disk is full"), BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/a", STRING)
        monkeypatch.setattr("rosbags.rosbag2.storage_mcap.McapWriter.close_chunk", full)
        bag.write("/a", 1, bytes(2**21))
    assert list(tmp_path.iterdir()) == []


def test_really_full_disk(tmp_path):
    """/dev/full answers every write as a full disk does."""
    with pytest.raises(BagError, match="disk is full"), BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/a", STRING)
        stream = bag._writer.storage
        stream.bio.close()
        stream.bio = open("/dev/full", "wb")  # noqa: SIM115
        for i in range(10):
            bag.write("/a", i, bytes(2**20))
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BagError, match="file is no folder that can be written to"):
        write_words(tmp_path / "file/bag", "x")


def test_an_unwritable_place_is_seen_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda folder, mode: False)
    with pytest.raises(BagError, match=f"{tmp_path} is no folder .* choose another output"):
        check_target(tmp_path / "new/bag", overwrite=False)


def test_one_topic_has_one_type(tmp_path):
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/a", STRING)
        with pytest.raises(BagError, match="cannot be std_msgs/msg/Header"):
            bag.add_topic("/a", "std_msgs/msg/Header")


def test_topics_have_to_be_announced(tmp_path):
    with BagWriter(tmp_path / "bag") as bag, pytest.raises(BagError, match="add_topic first"):
        bag.write("/a", START_NS, b"")
