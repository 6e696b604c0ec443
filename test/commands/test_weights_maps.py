"""Every name that `occ weights convert` offers leads to a usable map."""

import pytest

from occ_perception.commands.weights import CHECKPOINTS, find_checkpoint_map


@pytest.mark.parametrize("system", CHECKPOINTS)
def test_a_map_knows_its_system_grid_and_licence(system):
    checkpoint_map = find_checkpoint_map(system)
    assert checkpoint_map.system.startswith(system)
    assert checkpoint_map.licence
    assert checkpoint_map.rename("no.such.entry") is None
