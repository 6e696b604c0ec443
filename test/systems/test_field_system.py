"""What both field systems promise, at toy size."""

import numpy as np
import pytest
import torch
from systems.field_rigs import BUILD, build, camera, frame

from occ_perception.blocks.fields.pixel_field import EncodedView
from occ_perception.blocks.fields.prepare import view_intrinsics
from occ_perception.core.errors import CalibrationError, PredictionError
from occ_perception.geometry.transforms import inverse
from occ_perception.systems.base import Concern, Context, OccupancySystem

EVERYTHING = frozenset({"depth", "predicted_depth", "feature_picture", "segmentation"})


@pytest.fixture(params=sorted(BUILD))
def system(request):
    torch.manual_seed(0)
    return build(request.param)


def answer(system, given=None, wanted=frozenset()):
    return system.infer([system.preprocess(given or frame())], Context(7, wanted=wanted))


def field_values(system, given):
    """The field at all voxel centres, point by point, by the plain query."""
    view = system.preprocess(given)
    with torch.no_grad():
        T = torch.from_numpy(inverse(view.camera.T_base_cam)).float()[None]
        encoded = EncodedView(system.encode(view.image[None]), T, view_intrinsics(view)[None])
        return system.field.at(encoded, system.grid.centers().view(1, -1, 3))


def test_they_fulfil_the_contract(system):
    assert isinstance(system, OccupancySystem)
    assert system.needs.cameras == ("camera",)
    prediction = answer(system)
    assert prediction.stamp_ns == 7 and prediction.labels.dtype == torch.uint8
    allowed = {*system.labels.ids, system.labels.unknown_id}
    assert set(prediction.labels.unique().tolist()) <= allowed


def test_voxels_outside_the_image_are_unknown_and_the_others_are_not(system):
    prediction = answer(system)
    outside = field_values(system, frame()).outside.view(system.grid.shape)
    assert 0 < int(outside.sum()) < outside.numel()
    assert torch.equal(prediction.known, ~outside)
    assert torch.equal(prediction.labels == system.labels.unknown_id, outside)
    assert not prediction.confidence[outside].any()


def test_the_prepared_query_answers_as_the_plain_one(system):
    given = frame()
    plain = field_values(system, given)
    seen = []
    decide = system.decide
    system.decide = lambda table, voxels, density: (
        seen.append(voxels.scatter(density, float("nan"))),
        decide(table, voxels, density),
    )[1]
    answer(system, given)
    inside = ~plain.outside[0]
    torch.testing.assert_close(seen[0][inside], plain.density[0, inside], rtol=1e-4, atol=1e-5)
    assert seen[0][~inside].isnan().all()


def test_a_marked_ray_ends_up_in_the_voxels_that_it_passes():
    """A field that is dense under one pixel only: straight ahead, one metre to the left."""
    system = build("vipocc", occupied_density=0.6)
    field, (height, width) = system.field, system.config.input_size
    with torch.no_grad():
        field.lin_in.weight.zero_(), field.lin_in.bias.zero_(), field.lin_out.bias.fill_(-5)
        field.lin_out.weight.fill_(1.0)
    # y = 1.5 m (left), z = -0.5 m at x = 8.5 m; the image is 192 x 96 pixels
    column = int((96 - 84 * 1.5 / 8.5) / 192 * width)
    row = int((48 + 84 * 0.5 / 8.5) / 96 * height)
    hidden = torch.zeros(1, 8, height, width)
    hidden[..., row - 1 : row + 2, column - 1 : column + 2] = 2.0
    system.encode = lambda image: hidden
    occupied = (answer(system).labels == 1).nonzero().tolist()
    index, inside = system.grid.index_of(np.array([8.5, 1.5, -0.5]))
    assert inside and index.tolist() in occupied
    # the whole ray is marked, and nothing beside it
    centres = system.grid.center_of(np.array(occupied))
    assert np.allclose(centres[:, 1] / centres[:, 0], 1.5 / 8.5, atol=0.06)


def test_points_are_prepared_again_when_camera_or_weights_change(system):
    def prepared(given):
        answer(system, given)
        return system._last.voxels

    first = prepared(frame())
    assert prepared(frame(seed=1)) is first
    for other in (camera(focal=90.0), camera(forward_m=1.0)):
        changed = prepared(frame(other))
        assert changed is not first
        assert prepared(frame(other)) is changed
        first = changed
    with torch.no_grad():
        system.field.lin_in.weight.mul_(2)
    assert prepared(frame(camera(forward_m=1.0))) is not first


def test_extras_are_made_for_those_who_listen_only(system):
    assert answer(system).extras == {}
    assert set(answer(system, wanted=frozenset({"depth"})).extras) == {"depth"}
    everything = set(answer(system, wanted=EVERYTHING).extras)
    assert everything == set(system.offers) - {"predicted_depth"}  # there is no depth prior


def test_answers_repeat_to_the_bit(system):
    first, second = (answer(system, wanted=EVERYTHING) for _ in range(2))
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(first.extras["depth"], second.extras["depth"])


@pytest.mark.parametrize("name", sorted(BUILD))
def test_depth_is_that_of_the_first_opaque_surface(name):
    """Dense beyond a depth: the code's third entry falls with depth."""
    system = build(name, samples=64)
    field = system.field
    with torch.no_grad():
        field.lin_in.weight.zero_(), field.lin_in.bias.zero_()
        field.lin_out.weight.zero_(), field.lin_out.bias.zero_()
        field.lin_in.weight[0, field.channels + 2] = -200.0
        field.lin_in.bias[0] = 200.0 * 0.4  # inverse depth of 4.6 m
        field.lin_out.weight[0, 0], field.lin_out.bias[0] = 10.0, -20.0
    depth = answer(system, wanted=frozenset({"depth"})).extras["depth"]
    wanted = 1 / (0.7 * (1 / 3 - 1 / 80) + 1 / 80)
    assert depth.shape == tuple(side // 4 for side in system.config.input_size)
    assert float((depth / wanted - 1).abs().max()) < 0.06


def test_pictures_show_the_whole_image_and_nothing_where_the_network_saw_nothing(system):
    """Of a square image the middle rows are kept only."""
    square = frame(camera(width=200, height=200))
    prediction = answer(system, square, wanted=frozenset({"depth"}))
    depth = prediction.extras["depth"]
    middle = depth.shape[0] // 2
    assert depth[0].isnan().all() and depth[-1].isnan().all() and depth[middle].isfinite().all()
    assert "cover" in system.notes()[0]


def test_an_unusual_field_of_view_is_a_concern_with_both_numbers(system):
    answer(system, frame(camera(focal=240.0)))
    concerns = [note for note in system.notes() if isinstance(note, Concern)]
    assert any("44" in note and "104" in note for note in concerns)


def test_distorted_cameras_are_refused(system):
    with pytest.raises(CalibrationError, match="rectify"):
        system.preprocess(frame(camera(distortion=(0.1,))))


def test_a_camera_that_looks_away_is_refused(system):
    with pytest.raises(CalibrationError, match="sees no voxel"):
        answer(system, frame(camera(forward_m=40.0)))


def test_nan_is_not_answered(system):
    with torch.no_grad():
        system.field.lin_out.bias.fill_(float("nan"))
    with pytest.raises(PredictionError, match="NaN"):
        answer(system)
