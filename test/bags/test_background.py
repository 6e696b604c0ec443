import pytest
from hypothesis import given
from hypothesis import strategies as st

from bags.sample_bags import header
from occ_perception.bags.background import BackgroundWriter, Received, RecordedTopic, StampTimes
from occ_perception.bags.messages import MessageTypes
from occ_perception.bags.reader import BagReader
from occ_perception.bags.topics import TopicQos
from occ_perception.bags.writer import BagWriter
from occ_perception.core.errors import BagError

TYPES = MessageTypes()
IMAGE = RecordedTopic("/image", "sensor_msgs/msg/Image", TopicQos())
WORDS = RecordedTopic("/words", "std_msgs/msg/String", TopicQos())
MAP = RecordedTopic("/label_map", "occ_msgs/msg/LabelMap", TopicQos(latched=True, depth=1))
ARRIVAL = 10**18


def received(topic, stamp=0, arrival=ARRIVAL):
    fields = {"data": "x"} if topic is WORDS else {"header": header(stamp)}
    return Received(topic.name, arrival, TYPES.encode(topic.msgtype, fields))


def recorded(path, entries, **options):
    """Times of the bag that comes out, by topic, in the order of the bag."""
    writer = BackgroundWriter(BagWriter(path), **options)
    writer.start()
    for topic in (IMAGE, WORDS, MAP):
        writer.add_topic(topic)
    for entry in entries:
        assert writer.put(entry)
    counts = writer.close()
    with BagReader(path) as bag:
        assert {t.name: t.count for t in bag.topics.values()} == counts
        return [(m.topic, m.time_ns) for m in bag.messages()]


def test_stamped_messages_lie_at_their_stamps(tmp_path):
    entries = [received(IMAGE, stamp, ARRIVAL + i) for i, stamp in enumerate([300, 100, 200])]
    assert recorded(tmp_path / "bag", entries) == [("/image", t) for t in (100, 200, 300)]


def test_unstamped_messages_lie_beside_the_newest_stamp(tmp_path):
    entries = [received(IMAGE, 100), received(WORDS), received(IMAGE, 200), received(WORDS)]
    expected = [("/image", 100), ("/words", 100), ("/image", 200), ("/words", 200)]
    assert recorded(tmp_path / "bag", entries) == expected


def test_latched_messages_come_first_whatever_they_were_stamped(tmp_path):
    """A label map stamped today must not lie years behind the images of an old bag."""
    entries = [received(MAP, ARRIVAL), received(IMAGE, 100), received(IMAGE, 200)]
    expected = [("/label_map", 100), ("/image", 100), ("/image", 200)]
    assert recorded(tmp_path / "bag", entries) == expected


def test_without_stamps_the_arrival_counts(tmp_path):
    entries = [received(WORDS, arrival=5), received(WORDS, arrival=6)]
    assert recorded(tmp_path / "bag", entries) == [("/words", 5), ("/words", 6)]


def test_many_messages_without_stamps_do_not_pile_up():
    times = StampTimes()
    placed = [len(times.place(received(WORDS, arrival=i), None)) for i in range(2500)]
    assert sum(placed) >= 2000
    assert sum(placed) + len(times.rest()) == 2500


def test_order_of_arrival_on_demand(tmp_path):
    entries = [received(IMAGE, 300, 1), received(MAP, 0, 2), received(IMAGE, 100, 3)]
    expected = [("/image", 1), ("/label_map", 2), ("/image", 3)]
    assert recorded(tmp_path / "bag", entries, by_stamp=False) == expected


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1000)), max_size=60))
def test_no_message_is_lost_or_doubled(entries):
    times, placed = StampTimes(), []
    messages = [Received(f"{i}", i, b"") for i, _ in enumerate(entries)]
    for message, (stamped, stamp) in zip(messages, entries, strict=True):
        placed += times.place(message, stamp if stamped else None)
    placed += times.rest()
    assert sorted(int(m.topic) for _, m in placed) == list(range(len(entries)))


def test_too_slow_disk_loses_messages_and_counts_them(tmp_path):
    writer = BackgroundWriter(BagWriter(tmp_path / "bag"), memory_bytes=100)
    # Not started: nobody takes anything out, like a disk that stands still.
    assert writer.put(Received("/a", 0, bytes(60)))
    assert not writer.put(Received("/a", 0, bytes(60)))
    assert writer.put(Received("/a", 0, bytes(40)))
    assert writer.lost == {"/a": 1}


def test_failing_disk_is_told_at_the_end_and_nothing_is_left(tmp_path):
    writer = BackgroundWriter(BagWriter(tmp_path / "bag"))
    writer.start()
    writer.add_topic(IMAGE)
    writer.bag._writer.storage.bio.close()
    writer.bag._writer.storage.bio = open("/dev/full", "wb")  # noqa: SIM115
    for _ in range(10):
        writer.put(Received("/image", 0, bytes(2**20)))
    with pytest.raises(BagError, match="disk is full"):
        writer.close()
    assert list(tmp_path.iterdir()) == []
    assert not writer.put(received(IMAGE))


def test_existing_bag_is_refused_at_the_start(tmp_path):
    recorded(tmp_path / "bag", [])
    with pytest.raises(BagError, match="exists already"):
        BackgroundWriter(BagWriter(tmp_path / "bag")).start()
