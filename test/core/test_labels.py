"""Label maps: the shipped files and what contradicts itself."""

import numpy as np
import pytest

from occ_perception.core.errors import ConfigError
from occ_perception.core.labels import LabelMap, load_label_map


def test_semantickitti_is_the_published_table():
    labels = load_label_map("semantickitti")
    assert labels.ids == tuple(range(20))
    assert labels.id_of("car") == 1
    assert labels.id_of("traffic-sign") == 19
    assert labels.free_id == 0
    assert labels.unknown_id == 255
    assert labels.palette()[9].tolist() == [255, 0, 255]


def test_a_robot_is_blocked_by_things_and_not_by_ground():
    labels = load_label_map("semantickitti")
    blocking = labels.blocking()
    assert blocking[[labels.id_of(n) for n in ("car", "person", "building", "pole")]].all()
    ground = ("empty", "road", "parking", "sidewalk", "terrain")
    assert not blocking[[labels.id_of(n) for n in ground]].any()
    assert not blocking[labels.unknown_id]


def test_undefined_ids_are_grey():
    assert np.array_equal(load_label_map("semantickitti").palette()[255], [128, 128, 128])


def test_sscbench_has_nineteen_classes():
    assert len(load_label_map("sscbench_kitti360").ids) == 19


def test_unknown_map_lists_the_shipped_ones():
    with pytest.raises(ConfigError, match="semantickitti"):
        load_label_map("cityscape")


def test_unknown_class_lists_the_classes():
    with pytest.raises(ConfigError, match="bicyclist"):
        load_label_map("semantickitti").id_of("tram")


@pytest.mark.parametrize(
    "changes",
    [{"unknown_id": 0}, {"names": ("free",)}, {"blocking_ids": (7,)}, {"ids": (0, 0)}],
)
def test_contradicting_maps_are_refused(changes):
    good = {
        "name": "toy",
        "ids": (0, 1),
        "names": ("free", "thing"),
        "colors_rgb": ((0, 0, 0), (1, 1, 1)),
        "free_id": 0,
        "unknown_id": 255,
        "blocking_ids": (1,),
    }
    LabelMap(**good)
    with pytest.raises(ConfigError):
        LabelMap(**{**good, **changes})
