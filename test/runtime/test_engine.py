"""The workers: newest set wins, every set is accounted for, a bad set costs that set only."""

import threading

import numpy as np
import pytest
from runtime.toy_system import BrightnessSystem

from occ_perception.core.camera import Camera
from occ_perception.core.errors import ImageError
from occ_perception.core.types import CameraFrame, FrameSet
from occ_perception.runtime import engine as module
from occ_perception.runtime.engine import Engine

P = np.array([[10.0, 0, 4, 0], [0, 10, 4, 0], [0, 0, 1, 0]])


def frames(value, stamp_ns):
    image = np.full((8, 8, 3), value, np.uint8)
    return FrameSet((CameraFrame(image, Camera("front", P, 8, 8), stamp_ns),), stamp_ns)


class Rig:
    """An engine whose answers are collected, and whose decoding can be held back."""

    def __init__(self):
        self.system = BrightnessSystem()
        self.results, self.drops, self.crashes = [], [], []
        self.changed = threading.Condition()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.engine = Engine(
            self.system,
            decode=self.decode,
            on_result=lambda p, job: self.note(
                self.results, (p.stamp_ns, int(p.labels[0, 0, 0]), sorted(job.timer.seconds))
            ),
            on_drop=lambda *drop: self.note(self.drops, drop),
            on_crash=self.crashes.append,
        )

    def decode(self, raw, timer):
        self.entered.release()
        assert self.gate.wait(30)
        if isinstance(raw, Exception):
            raise raw
        with timer.stage("decode"):
            return raw

    def note(self, where, what):
        with self.changed:
            where.append(what)
            self.changed.notify_all()

    def wait(self, results=0, drops=0):
        with self.changed:
            assert self.changed.wait_for(
                lambda: len(self.results) >= results and len(self.drops) >= drops, 30
            )


@pytest.fixture
def rig():
    rig = Rig()
    rig.engine.start()
    yield rig
    rig.gate.set()
    assert rig.engine.stop()


def test_a_set_is_answered_with_its_stamp_and_stage_times(rig):
    rig.engine.submit(5, frames(7, 5))
    rig.wait(results=1)
    assert rig.results == [(5, 7, ["decode", "infer", "prepare"])]


def test_the_newest_waiting_set_wins_and_the_others_are_reported(rig):
    rig.gate.clear()
    rig.engine.submit(1, frames(1, 1))
    assert rig.entered.acquire(timeout=30)  # set 1 is in the worker's hands
    for stamp in (2, 3, 4):
        rig.engine.submit(stamp, frames(stamp, stamp))
    assert rig.drops == [(2, module.SUPERSEDED, ""), (3, module.SUPERSEDED, "")]
    rig.gate.set()
    rig.wait(results=1)
    rig.engine.submit(5, frames(5, 5))
    rig.wait(results=1, drops=2)
    # Set 1 may be overtaken between the workers, but nothing is lost without a word.
    rig_total = lambda: len(rig.results) + len(rig.drops)  # noqa: E731
    with rig.changed:
        assert rig.changed.wait_for(lambda: rig_total() == 5, 30)


def test_a_known_error_costs_its_set_and_is_told_by_kind_and_sentence(rig):
    rig.engine.submit(1, ImageError("encoding 'x' is unknown"))
    rig.wait(drops=1)
    assert rig.drops == [(1, "bad image", "encoding 'x' is unknown")]
    assert not rig.crashes
    rig.engine.submit(2, frames(3, 2))
    rig.wait(results=1)


def test_an_unexpected_error_is_handed_on_and_the_worker_lives(rig):
    rig.engine.submit(1, KeyError("oops"))
    rig.wait(drops=1)
    assert rig.drops == [(1, module.CRASH, "KeyError: 'oops'")]
    rig.engine.submit(2, frames(3, 2))
    rig.wait(results=1)
    assert [type(error) for error in rig.crashes] == [KeyError]


def test_reset_reaches_the_set_in_hand_and_the_systems_history(rig):
    rig.gate.clear()
    rig.engine.submit(1, frames(1, 1))
    assert rig.entered.acquire(timeout=30)
    rig.engine.submit(2, frames(2, 2))
    rig.engine.reset()
    assert rig.drops == [(2, module.RESET, "")]
    rig.gate.set()
    rig.wait(drops=2)
    assert rig.drops[1] == (1, module.RESET, "")
    assert rig.system.resets == 0
    rig.engine.submit(3, frames(3, 3))
    rig.wait(results=1)
    assert rig.system.resets == 1


def test_stop_reports_what_waits_and_what_comes_too_late():
    rig = Rig()
    rig.engine.start()
    rig.gate.clear()
    rig.engine.submit(1, frames(1, 1))
    assert rig.entered.acquire(timeout=30)
    rig.engine.submit(2, frames(2, 2))
    assert not rig.engine.stop(timeout_s=0.01)  # set 1 is still in the worker's hands
    assert rig.drops == [(2, module.SHUTDOWN, "")]
    rig.engine.submit(3, frames(3, 3))
    assert rig.drops[1] == (3, module.SHUTDOWN, "")
    rig.gate.set()
    assert rig.engine.stop()
    assert rig.drops[2] == (1, module.SHUTDOWN, "")


def test_an_image_may_be_prepared_before_its_set_is_complete(rig):
    made = []
    whole = rig.system.preprocess

    def counted(frame):
        made.append(frame.stamp_ns)
        return whole(frame)

    rig.system.preprocess = counted
    (frame,) = frames(9, 5).frames
    early = rig.engine.early(lambda: frame)
    assert early.result(30) is frame
    bad = rig.engine.early(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bad.result(30)
    rig.engine.submit(5, FrameSet((frame,), 5))
    rig.wait(results=1)
    assert made == [5]
    assert rig.results[0][:2] == (5, 9)
    rig.engine.stop()
    assert rig.engine.early(lambda: frame) is None
