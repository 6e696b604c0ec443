"""The player against a fake clock: sleeping moves it, nothing else does."""

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bags.sample_bags import PERIOD_NS, START_NS, write_stereo_bag
from occ_perception.bags.player import BagPlayer, Lockstep, PlayerSettings
from occ_perception.bags.reader import BagReader
from occ_perception.core.errors import BagError, ConfigError

LEFT = "/camera/left/image_rect"


class FakeTime:
    """Seconds that pass only while somebody sleeps; `events` happen on the way."""

    def __init__(self):
        self.now = 1000.0
        self.events = []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds
        due = [e for e in self.events if e[0] <= self.now]
        self.events = [e for e in self.events if e[0] > self.now]
        for _, action in due:
            action()

    def at(self, seconds, action):
        self.events.append((1000.0 + seconds, action))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_stereo_bag(tmp_path_factory.mktemp("bags") / "bag", frames=5)


@pytest.fixture
def bag(path):
    with BagReader(path) as reader:
        yield reader


def prepare(bag, lockstep=None, on_publish=None, **options):
    """A player whose log holds (wall seconds, topic or "clock", bag seconds or bytes)."""
    clock, log = FakeTime(), []

    def publish(topic, data):
        log.append((clock.now - 1000, topic, data))
        if on_publish:
            on_publish(topic, clock)

    player = BagPlayer(
        bag,
        PlayerSettings(**options),
        publish=publish,
        clock=lambda ns: log.append((clock.now - 1000, "clock", ns)),
        lockstep=lockstep,
        time_source=clock,
    )
    return SimpleNamespace(player=player, time=clock, log=log)


def wall_times(log, topic):
    return [round(when, 6) for when, name, _ in log if name == topic]


def topics_in(log):
    return [name for _, name, _ in log if name != "clock"]


def ticks(log):
    return [ns for _, name, ns in log if name == "clock"]


@settings(max_examples=15)
@given(rate=st.floats(0.1, 20))
def test_messages_come_when_they_are_due(path, rate):
    with BagReader(path) as bag:
        play = prepare(bag, rate=rate)
        assert play.player.run() == bag.message_count
        due = [i * PERIOD_NS / 1e9 / rate for i in range(5)]
        assert wall_times(play.log, LEFT) == pytest.approx(due, abs=1e-4)


def test_bytes_and_order_are_the_bags(bag):
    play = prepare(bag)
    play.player.run()
    sent = [(topic, data) for _, topic, data in play.log if topic != "clock"]
    assert sent == [(m.topic, m.data) for m in bag.messages()]


@settings(max_examples=15)
@given(rate=st.floats(0.1, 20), hz=st.sampled_from([10.0, 100.0]))
def test_clock_never_goes_back_and_announces_every_message(path, rate, hz):
    with BagReader(path) as bag:
        play = prepare(bag, rate=rate, clock_hz=hz)
        play.player.run()
        assert all(a <= b for a, b in pairwise(ticks(play.log)))
        times = [m.time_ns for m in bag.messages()]
        before = [
            clock[2]
            for clock, message in pairwise(play.log)
            if message[1] != "clock" and clock[1] == "clock"
        ]
        assert before == times


def test_clock_ticks_between_messages(bag):
    play = prepare(bag, clock_hz=100.0)
    play.player.run()
    # 0.4 s of bag at 100 Hz, and one tick for each of the 26 messages (1 + 5 * 5).
    assert 36 + 26 <= len(ticks(play.log)) <= 42 + 26
    for when, name, ns in play.log:
        if name == "clock":
            assert (ns - START_NS) / 1e9 == pytest.approx(when, abs=1e-3)


def test_no_clock_when_it_is_not_wanted(bag):
    play = prepare(bag, clock_hz=0.0)
    play.player.run()
    assert ticks(play.log) == []


def test_as_fast_as_possible_never_sleeps(bag):
    play = prepare(bag, rate=math.inf)
    assert play.player.run() == bag.message_count
    assert play.time.now == 1000.0


def test_start_and_duration(bag):
    play = prepare(bag, start_s=0.2, duration_s=0.1)
    play.player.run()
    assert wall_times(play.log, LEFT) == pytest.approx([0.0, 0.1], abs=1e-4)
    assert ticks(play.log)[0] == START_NS + 2 * PERIOD_NS


def test_static_transforms_before_the_start_are_sent_first(bag):
    play = prepare(bag, start_s=0.2)
    play.player.run()
    assert topics_in(play.log)[0] == "/tf_static"
    assert wall_times(play.log, "/tf_static") == [0.0]


def test_only_chosen_topics_under_new_names(bag):
    play = prepare(bag, topics=(LEFT,), remap={LEFT: "/left/image_rect"})
    play.player.run()
    assert topics_in(play.log) == ["/left/image_rect"] * 5


def test_loop_starts_again_with_time_jumping_back(bag):
    play = prepare(bag, loop=True)
    play.time.at(1.05, play.player.stop)
    play.player.run()
    starts = wall_times(play.log, "/tf_static")
    assert starts == pytest.approx([0.0, 0.4, 0.8], abs=0.01)
    jumps = [(a, b) for a, b in pairwise(ticks(play.log)) if b < a]
    assert jumps == [(START_NS + 4 * PERIOD_NS, START_NS)] * 2


def test_pause_stops_clock_and_messages_and_nothing_is_hurried_after(bag):
    play = prepare(bag)
    play.time.at(0.15, play.player.pause)
    play.time.at(5.15, play.player.resume)
    play.player.run()
    expected = [0.0, 0.1, 5.2, 5.3, 5.4]
    assert wall_times(play.log, LEFT) == pytest.approx(expected, abs=0.025)
    assert not [name for when, name, _ in play.log if 0.2 < when < 5.1]


def test_stop_ends_soon(bag):
    play = prepare(bag)
    play.time.at(0.15, play.player.stop)
    assert play.player.run() < bag.message_count
    assert play.time.now < 1000.2


def test_stop_ends_a_pause(bag):
    play = prepare(bag)
    play.player.pause()
    play.time.at(1.0, play.player.stop)
    assert play.player.run() == 0


def answering(lockstep, bag, delay_s):
    """A node that answers every anchor image after a while."""
    stamps = iter([bag.stamp_ns(m) for m in bag.messages([LEFT])])

    def on_publish(topic, clock):
        if topic == LEFT:
            stamp = next(stamps)
            clock.at(clock.now - 1000 + delay_s, lambda: lockstep.answered(stamp))

    return on_publish


@settings(max_examples=15)
@given(delay_s=st.floats(0.0, 3.0), rate=st.sampled_from([0.5, 1.0, 4.0, math.inf]))
def test_lockstep_waits_for_every_answer(path, delay_s, rate):
    with BagReader(path) as bag:
        lockstep = Lockstep(LEFT)
        play = prepare(bag, lockstep, answering(lockstep, bag, delay_s), rate=rate)
        play.player.run()
        assert lockstep.answers == 5
        images = wall_times(play.log, LEFT)
        assert all(b - a >= delay_s - 1e-5 for a, b in pairwise(images))
        assert play.time.now - 1000 >= images[-1] + delay_s - 1e-5  # waits for the last one, too
        assert all(a <= b for a, b in pairwise(ticks(play.log)))


def test_lockstep_does_not_hurry_after_a_slow_answer(bag):
    lockstep = Lockstep(LEFT)
    play = prepare(bag, lockstep, answering(lockstep, bag, 1.0))
    play.player.run()
    # 0.1 s of bag time, then what is missing to the answer: the wait is not caught up with.
    assert wall_times(play.log, LEFT) == pytest.approx([0, 1, 2, 3, 4], abs=0.15)
    assert wall_times(play.log, "/tf") == pytest.approx([0, 0.1, 1.1, 2.1, 3.1], abs=0.25)


def test_lockstep_gives_up_after_its_limit(bag):
    play = prepare(bag, Lockstep(LEFT, timeout_s=2.0))
    with pytest.raises(BagError, match=r"no answer to /camera/left/image_rect stamped 1700000000"):
        play.player.run()
    assert wall_times(play.log, LEFT) == [0.0]
    assert play.time.now - 1000 == pytest.approx(2.1, abs=0.1)


def test_lockstep_ignores_answers_that_nobody_waits_for():
    lockstep = Lockstep(LEFT)
    lockstep.answered(5)
    lockstep.sent(5)
    assert lockstep.due == (5,)
    lockstep.answered(5)
    assert (lockstep.due, lockstep.answers) == ((), 1)


def test_lockstep_needs_its_anchor(bag):
    with pytest.raises(BagError, match="no topic /other"):
        prepare(bag, Lockstep("/other"))


def test_waiting_is_shown(bag):
    play = prepare(bag, Lockstep(LEFT))
    seen = []
    play.time.at(0.5, lambda: seen.append(play.player.waiting_for))
    play.time.at(0.6, play.player.stop)
    play.player.run()
    assert seen == ["an answer"]
    assert play.player.waiting_for == ""


def test_missing_topics_are_named(bag):
    with pytest.raises(BagError, match="no topic /x"):
        prepare(bag, topics=("/x",))
    with pytest.raises(BagError, match="no topic /y"):
        prepare(bag, remap={"/y": "/z"})


def test_two_topics_cannot_have_one_name(bag):
    with pytest.raises(ConfigError, match="several topics are /tf"):
        prepare(bag, remap={LEFT: "/tf"})


def test_start_behind_the_end(bag):
    with pytest.raises(BagError, match=r"nothing to play from 99.0 s.*26 messages in 0.400 s"):
        prepare(bag, start_s=99.0)


@pytest.mark.parametrize(
    "options",
    [
        {"rate": 0.0},
        {"rate": -1.0},
        {"rate": math.nan},
        {"start_s": -1.0},
        {"start_s": math.nan},
        {"duration_s": 0.0},
        {"clock_hz": -1.0},
    ],
)
def test_impossible_settings(options):
    with pytest.raises(ConfigError):
        PlayerSettings(**options)
