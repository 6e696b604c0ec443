import pytest

from occ_training.engine.schedule import (
    GAUSSIANFLOWOCC,
    LANGOCC,
    SCENEDINO,
    VIPOCC,
    VLSCENE,
    StepCosine,
    Warmup,
)


def test_vlscene_drops_at_the_start_of_epochs_20_and_25():
    factors = [VLSCENE.factor(0, epoch) for epoch in (0, 19, 20, 24, 25, 29)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_gaussianflowocc_has_the_published_rates_per_epoch():
    rates = [1e-4 * GAUSSIANFLOWOCC.factor(10_000, epoch) for epoch in range(9, 18)]
    published = [1e-4, 9.701e-5, 8.842e-5, 7.525e-5, 5.910e-5, 4.190e-5, 2.575e-5, 1.258e-5]
    assert rates == pytest.approx([*published, 3.985e-6], rel=1e-3)


def test_langocc_warms_up_and_ends_above_the_floor():
    assert LANGOCC.factor(0, 0) == pytest.approx(0.001)
    assert LANGOCC.factor(100, 0) == pytest.approx(0.5005)
    assert LANGOCC.factor(200, 6) == 1
    assert LANGOCC.factor(10_000, 17) == pytest.approx(0.03, abs=0.01)


def test_field_systems_drop_by_steps():
    assert VIPOCC.factor(119_999, 9) == 1 and VIPOCC.factor(240_000, 9) == pytest.approx(0.01)
    assert SCENEDINO.factor(50_000, 0) == pytest.approx(0.1)


def test_a_short_training_ends_at_the_floor():
    schedule = StepCosine(100, floor=0.02, warmup=Warmup(10))
    assert schedule.factor(0, 0) == pytest.approx(0.001)
    assert schedule.factor(50, 0) == pytest.approx(0.51)
    assert schedule.factor(100, 0) == pytest.approx(0.02)
