import numpy as np
import pytest
from mcap.writer import CompressionType, Writer

from bags.sample_bags import PERIOD_NS, START_NS, write_stereo_bag
from occ_perception.bags.index import MessageStore, open_index
from occ_perception.bags.messages import MessageTypes
from occ_perception.bags.reader import BagReader
from occ_perception.core.errors import BagError

LEFT = "/camera/left/image_rect"


def everything(path):
    index = open_index(path)
    store = MessageStore(index.files)
    return {
        name: [store.read(topic.place(row)) for row in range(len(topic))]
        for name, topic in index.topics.items()
    }


def test_every_message_is_found(tmp_path):
    path = write_stereo_bag(tmp_path / "bag")
    with BagReader(path) as bag:
        expected = {name: [m.data for m in bag.messages([name])] for name in bag.topics}
    assert everything(path) == expected
    assert everything(path) == expected  # now from the stored index


def test_stamps_are_those_of_the_headers(tmp_path):
    path = write_stereo_bag(tmp_path / "bag", frames=3)
    topic = open_index(path).topics[LEFT]
    assert topic.stamps_ns.tolist() == [START_NS + i * PERIOD_NS for i in range(3)]
    assert topic.nearest(START_NS + PERIOD_NS + 7, 10) == 1
    assert topic.nearest(START_NS + PERIOD_NS + 7, 5) is None
    assert topic.nearest(START_NS + 99 * PERIOD_NS, PERIOD_NS) is None


@pytest.mark.parametrize("compression", list(CompressionType))
@pytest.mark.parametrize("chunked", [True, False])
def test_files_of_another_writer(tmp_path, compression, chunked):
    types, path = MessageTypes(), tmp_path / "other.mcap"
    texts = [types.encode("std_msgs/msg/String", {"data": "x" * i}) for i in range(50)]
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=400, compression=compression, use_chunking=chunked)
        writer.start("ros2", "test")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        channel = writer.register_channel("/text", "cdr", schema)
        for number, data in enumerate(texts):
            writer.add_message(channel, log_time=number, publish_time=number, data=data)
        writer.finish()
    index = open_index(path)
    store = MessageStore(index.files)
    topic = index.topics["/text"]
    order = np.random.default_rng(0).permutation(50)
    assert [store.read(topic.place(row)) for row in order] == [texts[row] for row in order]


@pytest.mark.parametrize("keep", [0, 5, 100, -9])
def test_a_cut_file_is_named(tmp_path, keep):
    path = write_stereo_bag(tmp_path / "bag")
    file = next(path.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(BagError, match="truncated or damaged"):
        open_index(path)


def test_a_record_that_claims_too_much(tmp_path):
    path = write_stereo_bag(tmp_path / "bag")
    file = next(path.glob("*.mcap"))
    data = bytearray(file.read_bytes())
    data[9:17] = (1 << 40).to_bytes(8, "little")
    file.write_bytes(bytes(data))
    with pytest.raises(BagError, match="longer than the file"):
        open_index(path)


def test_a_file_that_became_shorter(tmp_path):
    path = write_stereo_bag(tmp_path / "bag")
    index = open_index(path)
    index.files[0].write_bytes(index.files[0].read_bytes()[:200])
    with pytest.raises(BagError, match="become shorter"):
        MessageStore(index.files).read(index.topics[LEFT].place(4))
