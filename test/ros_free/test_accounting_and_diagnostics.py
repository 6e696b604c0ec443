"""Every set is counted and told; the diagnostics say how the node is."""

import pytest
from ros_free.stand_ins import TYPES

from occ_perception.ros import diagnostics
from occ_perception.ros.accounting import Accounting
from occ_perception.ros.diagnostics import ERROR, OK, STALE, WARN, Health, InputHealth
from occ_perception.runtime.profiler import Profiler


class Log:
    def __init__(self):
        self.reports, self.warnings, self.now_s = [], [], 0.0
        self.accounting = Accounting(
            lambda *report: self.reports.append(report), self.warnings.append, lambda: self.now_s
        )


def test_each_answer_is_reported_with_the_counts_so_far():
    log = Log()
    log.accounting.formed()
    log.accounting.published(5, {"infer": 0.5})
    log.accounting.dropped(6, "bad image", "encoding 'x'")
    assert log.reports == [(5, "", {"infer": 0.5}, (1, 1, 0)), (6, "bad image", {}, (1, 1, 1))]


def test_drops_are_logged_once_in_a_while_per_reason():
    log = Log()
    for stamp in range(3):
        log.accounting.dropped(stamp, "bad image", "encoding 'x'")
    log.accounting.dropped(4, "reset")
    assert len(log.warnings) == 2
    assert "encoding 'x'" in log.warnings[0]
    log.now_s = 60.0
    log.accounting.dropped(5, "bad image", "encoding 'x'")
    assert "4 so far" in log.warnings[2]


def test_clearing_begins_anew():
    log = Log()
    log.accounting.dropped(1, "reset")
    log.accounting.clear()
    assert log.accounting.counts() == (0, 0, 0)
    assert log.accounting.take_recent() == ""


def test_a_recent_drop_is_told_once():
    log = Log()
    log.accounting.dropped(1, "bad image", "why")
    assert log.accounting.take_recent() == "bad image: why"
    assert log.accounting.take_recent() == ""


LIVE = {"left": InputHealth("/left", 10.0, 0.05)}
SILENT = {"left": InputHealth("/left", 10.0, 60.0), "right": InputHealth("/right", 0.0, None)}


@pytest.mark.parametrize(
    ("health", "level", "word"),
    [
        (Health("inactive"), OK, "inactive"),
        (Health("active", inputs=LIVE), OK, "0 sets published"),
        (Health("active", inputs=SILENT), STALE, "/left, /right"),
        (Health("active", inputs=LIVE, crashes=1, last_drop="boom"), ERROR, "boom"),
        (Health("active", inputs=LIVE, has_random_weights=True), WARN, "RANDOM"),
        (Health("active", inputs=LIVE, last_drop="bad image"), WARN, "bad image"),
    ],
)
def test_the_worst_is_said_first(health, level, word):
    found = diagnostics.judge(health, Profiler())
    assert found[0] == level
    assert word in found[1]


def test_the_array_carries_rates_ages_drops_and_stage_times():
    profiler = Profiler()
    profiler.form()
    profiler.add({"infer": 0.25})
    profiler.drop("bad image", 2)
    health = Health("active", device="cpu", weights="RANDOM", inputs=SILENT)
    array = diagnostics.diagnostic_array(TYPES, 3_000_000_001, "/node", health, profiler)
    (status,) = array.status
    assert status.level == STALE
    assert array.header.stamp.nanosec == 1
    values = {item.key: item.value for item in status.values}
    assert values["left rate [Hz]"] == "10.00"
    assert values["right age [s]"] == "none yet"
    assert values["dropped, bad image"] == "2"
    assert values["infer mean / p99 [ms]"] == "250.0 / 250.0"
    assert values["sets published"] == "1"
    assert values["device"] == "cpu"
