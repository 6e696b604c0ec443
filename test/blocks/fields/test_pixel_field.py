"""The folded field is the plain one: sample features, append the code, two linear layers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from occ_perception.blocks.fields.pixel_field import (
    EncodedView,
    FieldRange,
    PixelField,
    keep_visible,
)
from occ_perception.blocks.fields.positional import normalised_inverse_depth, positional_code
from occ_perception.blocks.fields.projection import sample_bilinear

K = torch.tensor([[[0.8, 0.0, -0.1], [0.0, 2.0, 0.2], [0.0, 0.0, 1.0]]])
IDENTITY = torch.eye(4)[None]


@pytest.fixture(params=[False, True], ids=["border", "learnt"])
def parts(request):
    torch.manual_seed(0)
    field = PixelField(6, 16, 3, FieldRange(), learn_empty=request.param)
    output = nn.Conv2d(5, 6, 3, padding=1, padding_mode="reflect")
    trunk = torch.randn(1, 5, 12, 20)
    points = torch.rand(1, 300, 3) * torch.tensor([20.0, 8.0, 40.0]) - torch.tensor([10.0, 4, 5])
    return field, output, trunk, points


def plain(field, output, trunk, points):
    """The same field without folding, point by point as the paper writes it."""
    u = points[..., 0] * 0.8 / points[..., 2].clamp(min=1e-3) - 0.1 * points[..., 2] / points[
        ..., 2
    ].clamp(min=1e-3)
    v = (2.0 * points[..., 1] + 0.2 * points[..., 2]) / points[..., 2].clamp(min=1e-3)
    outside = (points[..., 2] <= 1e-3) | (u.abs() > 1) | (v.abs() > 1)
    uv = torch.stack([u, v], dim=-1)
    z = normalised_inverse_depth(points[..., 2], 3.0, 80.0, 1e-3)
    features = sample_bilinear(output(trunk), uv)
    if field.empty_feature is not None:
        features = torch.where(outside[..., None], field.empty_feature, features)
    code = positional_code(torch.cat([uv, z[..., None]], dim=-1))
    values = field.lin_out(F.relu(field.lin_in(torch.cat([features, code], dim=-1))))
    return F.softplus(values[..., 0]), values[..., 1:], outside


def in_front(points):
    """Behind the camera the code is chaotic by design; compare what is in front."""
    return points[..., 2] > 0.5


def test_folding_changes_nothing(parts):
    field, output, trunk, points = parts
    view = EncodedView(field.hidden_map(trunk, output), IDENTITY, K)
    ours, theirs = field.at(view, points), plain(field, output, trunk, points)
    front = in_front(points)
    torch.testing.assert_close(ours.density[front], theirs[0][front], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.latent[front], theirs[1][front], rtol=1e-4, atol=1e-5)
    assert torch.equal(ours.outside, theirs[2])


def test_gradients_reach_all_weights_as_in_the_plain_field(parts):
    field, output, trunk, points = parts
    points = points[in_front(points)][None]
    weights = [*field.parameters(), *output.parameters()]
    view = EncodedView(field.hidden_map(trunk, output), IDENTITY, K)
    ours = torch.autograd.grad(field.at(view, points).density.sum(), weights)
    theirs = torch.autograd.grad(plain(field, output, trunk, points)[0].sum(), weights)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_only_visible_points_are_evaluated_and_put_back_in_place(parts):
    field, output, trunk, points = parts
    hidden = field.hidden_map(trunk, output)
    located = field.locate(points, IDENTITY, K, (12, 20))
    visible = keep_visible(located)
    inside = ~located.outside[0]
    assert 0 < int(inside.sum()) == visible.points.code.shape[1] < points.shape[1]
    whole = visible.scatter(field(hidden, visible.points).density[0], float("nan"))
    everywhere = field(hidden, located).density[0]
    torch.testing.assert_close(whole[inside], everywhere[inside])
    assert whole[~inside].isnan().all()


def test_a_mirrored_encoder_returns_the_map_the_right_way_round():
    torch.manual_seed(0)
    field = PixelField(4, 8, 0, FieldRange())
    pointwise = nn.Conv2d(3, 4, 1)
    image = torch.randn(1, 3, 6, 8)
    straight = field.encode(nn.Identity(), pointwise, image)
    mirrored = field.encode(nn.Identity(), pointwise, image, flip=True)
    torch.testing.assert_close(straight, mirrored)


def test_the_code_is_one_at_near_and_minus_one_at_far():
    depth = torch.tensor([3.0, 80.0, 1.0])
    near, far, nearer = normalised_inverse_depth(depth, 3.0, 80.0, 1e-3).tolist()
    assert near == pytest.approx(1) and far == pytest.approx(-1, abs=1e-6) and nearer > 1


def test_the_code_orders_octave_then_phase_then_channel():
    code = positional_code(torch.tensor([0.1, 0.2]), octaves=2, base=1.5)
    wanted = [0.1, 0.2]
    for frequency in (1.5, 3.0):
        wanted += [torch.sin(torch.tensor(frequency * x)).item() for x in (0.1, 0.2)]
        wanted += [torch.cos(torch.tensor(frequency * x)).item() for x in (0.1, 0.2)]
    torch.testing.assert_close(code, torch.tensor(wanted))
