"""The stand-in for the patch network: what it sees, and from where."""

import pytest
import torch
from training.recipes.tiny_scenedino import CONFIG, K, field_sample

from occ_perception.core.errors import ConfigError
from occ_training.data.patches import GridCells, moved_grid
from occ_training.labels.patch_features import PatchQuery
from occ_training.labels.toy_patches import ToyPatchNetwork, look

NETWORK = ToyPatchNetwork(64)


def query(number=0, view=0, row=1, column=3, **changes):
    views, surfaces, *_ = field_sample(number)
    cells = GridCells(*(torch.tensor([[value]]) for value in (view, row, column)))
    patches, cells = moved_grid(cells, (0, 0), CONFIG.patch)
    asked = PatchQuery(views.images, views.K, views.T_world_cam, cells, patches, (0, 0), surfaces)
    return asked._replace(**changes)


def test_points_lie_on_the_surface():
    seen = look(query(view=5))
    torch.testing.assert_close(seen.points_m[..., 2], torch.full((1, 1, 2, 2), 10.0))
    uv = seen.points_m[..., :2] @ K[:2, :2] / 9.0  # the camera is 9 m before the wall
    assert uv.min() >= -1 and uv.max() <= 1
    assert seen.surface.all() and seen.upright.max() == pytest.approx(1.0)


def test_classes_differ_more_than_places():
    same, near, other = (NETWORK(q)[0, 0] for q in (query(0), query(0, column=4), query(1)))
    cosine = torch.cosine_similarity
    assert cosine(same, near, dim=0) > 0.7 > cosine(same, other, dim=0)


def test_the_pattern_hangs_on_the_cell_alone():
    cells = query().cells
    torch.testing.assert_close(NETWORK.pattern(cells), NETWORK.pattern(query(1, view=3).cells))
    assert not torch.equal(NETWORK.pattern(cells), NETWORK.pattern(query(row=2).cells))


def test_nothing_is_said_of_what_the_lens_does_not_see():
    asked = query()
    classes = asked.surfaces.classes.clone()
    classes[0, 0, 8:12, 24:28] = 0
    assert NETWORK(asked._replace(surfaces=asked.surfaces._replace(classes=classes))).isnan().all()
    sky = asked.surfaces._replace(depth_m=torch.full_like(asked.surfaces.depth_m, torch.inf))
    assert NETWORK(asked._replace(surfaces=sky)).isfinite().all()


def test_real_drives_are_refused():
    with pytest.raises(ConfigError, match="give the real network's weights"):
        NETWORK(query(surfaces=None))
