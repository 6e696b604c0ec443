"""Stage times are summed per frame, summarised over a window; drops are counted by reason."""

import numpy as np

from occ_perception.runtime.profiler import Profiler, StageTimer


def test_a_stage_entered_twice_is_summed_even_if_it_fails():
    timer = StageTimer()
    with timer.stage("decode"):
        pass
    first = timer.seconds["decode"]
    try:
        with timer.stage("decode"):
            raise ValueError
    except ValueError:
        pass
    assert timer.seconds["decode"] > first


def test_summary_over_the_window():
    profiler = Profiler(window=100)
    for value in range(1, 201):
        profiler.add({"infer": float(value)})
    summary = profiler.summary()["infer"]
    last = np.arange(101, 201)
    assert summary.count == 100
    assert summary.mean_s == last.mean()
    assert summary.p99_s == np.percentile(last, 99)
    assert summary.max_s == 200
    assert profiler.published == 200


def test_drops_by_reason():
    profiler = Profiler()
    profiler.drop("reset")
    profiler.drop("no right image", 3)
    assert profiler.drops() == {"reset": 1, "no right image": 3}
