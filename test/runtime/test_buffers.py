"""A slot holds the newest item, hands back the displaced one and wakes its taker."""

import threading

from occ_perception.runtime.buffers import LatestSlot


def test_the_newest_wins_and_the_older_comes_back():
    slot = LatestSlot()
    assert slot.put("old") is None
    assert slot.put("new") == "old"
    assert slot.take() == "new"


def test_take_waits_for_an_item():
    slot = LatestSlot()
    taken = []
    taker = threading.Thread(target=lambda: taken.append(slot.take()))
    taker.start()
    slot.put(7)
    taker.join(30)
    assert taken == [7]


def test_closing_wakes_the_taker_and_returns_what_waited():
    slot = LatestSlot()
    taken = []
    taker = threading.Thread(target=lambda: taken.append(slot.take()))
    taker.start()
    assert slot.close() is None
    taker.join(30)
    assert taken == [None]
    assert slot.put("late") == "late"
    assert slot.is_closed


def test_clear_empties():
    slot = LatestSlot()
    slot.put(1)
    assert slot.clear() == 1
    assert slot.clear() is None
