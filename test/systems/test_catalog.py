"""The catalogue of systems."""

import pytest

from occ_perception.core.errors import ConfigError
from occ_perception.systems.base import OccupancySystem
from occ_perception.systems.catalog import SYSTEMS, build_system, find_system
from occ_perception.systems.roles import OFFERS, PROMPTED, ROLES, anchor_of


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_keeps_the_contract_and_has_the_published_preset(name):
    assert "published" in SYSTEMS[name].presets
    system = build_system(name, preset="nano", grid_frame="lidar")
    assert isinstance(system, OccupancySystem)
    assert system.grid.frame_id == "lidar"
    assert system.needs.cameras == ROLES[name]
    assert system.needs.prompts == (name in PROMPTED)
    assert tuple(system.offers) == OFFERS.get(name, ())
    assert not system.network.training


def test_a_mistyped_name_gets_its_neighbour():
    with pytest.raises(ConfigError, match="did you mean 'vlscene'"):
        find_system("vlscen")


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(ConfigError, match="published, nano"):
        build_system("vlscene", preset="huge")


def test_the_anchor_is_the_front_camera_or_the_first():
    anchors = [anchor_of(ROLES[name]) for name in ("vlscene", "vipocc", "langocc")]
    assert anchors == ["left", "camera", "CAM_FRONT"]
