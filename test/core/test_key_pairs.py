"""Renaming forth and back."""

import pytest

from occ_perception.core.errors import WeightsError
from occ_perception.core.key_pairs import KeyPairs

PAIRS = KeyPairs(
    (
        ("img_neck.*.*.conv.", "neck.*.*."),
        ("head.0.", "head.first."),
        ("img_", ""),
    )
)


@pytest.mark.parametrize(
    ("official", "ours"),
    [
        ("img_neck.lateral_convs.2.conv.bias", "neck.lateral_convs.2.bias"),
        ("head.0.weight", "head.first.weight"),
    ],
)
def test_names_go_forth_and_back(official, ours):
    assert PAIRS.rename(official) == ours
    assert PAIRS.official(ours) == official


def test_only_the_first_fitting_pair_is_applied():
    assert PAIRS.rename("img_neck.a.b.conv.weight") == "neck.a.b.weight"
    assert PAIRS.rename("img_backbone.conv1.weight") == "backbone.conv1.weight"


def test_a_dot_is_a_dot():
    assert PAIRS.rename("headx0.weight") is None


def test_export_refuses_what_has_no_official_name():
    pairs = KeyPairs((("a.", "b."),))
    assert pairs.export({"b.x": 1}) == {"a.x": 1}
    with pytest.raises(WeightsError, match="c"):
        pairs.export({"b.x": 1, "c.x": 2})
