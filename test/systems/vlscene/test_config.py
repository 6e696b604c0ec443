"""Sizes of VLScene."""

import numpy as np
import pytest

from occ_perception.core.errors import ConfigError
from occ_perception.systems.vlscene.config import VLSceneConfig


def test_the_published_sizes():
    config = VLSceneConfig()
    assert (config.bins, config.map_size) == (112, (48, 160))
    assert config.grid.shape == (256, 256, 32) and config.lift_grid.shape == (128, 128, 16)
    np.testing.assert_allclose(config.grid.upper_m, (51.2, 25.6, 4.4))
    np.testing.assert_allclose(config.lift_grid.upper_m, config.grid.upper_m)
    np.testing.assert_allclose(config.grid.center_of((0, 0, 0)), (0.1, -25.5, -1.9))


@pytest.mark.parametrize(
    "changes",
    [{"input_size": (370, 1280)}, {"depth_max_m": 57.0}, {"lift_shape": (128, 126, 16)}],
)
def test_sizes_that_cannot_be_halved_twice_are_refused(changes):
    with pytest.raises(ConfigError, match="multiple"):
        VLSceneConfig(**changes)
