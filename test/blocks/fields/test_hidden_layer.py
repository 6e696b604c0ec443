"""The hidden layer in blocks against its plain twin, values and gradients."""

import pytest
import torch

from occ_perception.blocks.fields import hidden_layer as module
from occ_perception.blocks.fields.hidden_layer import hidden_layer
from occ_perception.blocks.fields.projection import bilinear_taps, read_taps


def plain(maps, taps, code, weight, bias):
    return torch.relu(read_taps(maps, taps) + torch.nn.functional.linear(code, weight, bias))


@pytest.fixture
def given():
    """Batch 2, 37 points: also beside the image, and several at one pixel."""
    generator = torch.Generator().manual_seed(0)
    uv = torch.rand(2, 37, 2, generator=generator) * 2.6 - 1.3
    uv[:, 5:9] = uv[:, 4:5]
    sizes = (2, 6, 5, 7), (2, 37, 3), (6, 3), (6,)
    maps, code, weight, bias = (torch.randn(s, generator=generator).double() for s in sizes)
    taps = bilinear_taps(uv, 5, 7)
    for tensor in (maps, weight, bias):
        tensor.requires_grad_()
    return maps, taps._replace(weights=taps.weights.double()), code, weight, bias


@pytest.mark.parametrize("values", [6, 60, 1 << 20])
def test_blocks_of_any_size_say_what_the_plain_layer_does(given, monkeypatch, values):
    monkeypatch.setattr(module, "_CACHED_VALUES", values)
    learnt = [given[i] for i in (0, 3, 4)]
    answers = [layer(*given) for layer in (hidden_layer, plain)]
    pull = torch.randn_like(answers[1])
    ours, theirs = (torch.autograd.grad((a * pull).sum(), learnt) for a in answers)
    torch.testing.assert_close(answers[0], answers[1])
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)
    assert (answers[1] == 0).any() and (ours[0] != 0).any()


def test_half_precision_follows_the_map(given):
    maps, taps, code, weight, bias = (
        part.detach().to(torch.bfloat16) if isinstance(part, torch.Tensor) else part
        for part in given
    )
    half = hidden_layer(maps, taps, code.float(), weight.float(), bias.float())
    assert half.dtype == torch.bfloat16
    exact = plain(*given).detach()
    assert float((half.double() - exact).abs().max()) < 0.1


def test_no_points_no_values(given):
    maps, taps, code, weight, bias = given
    none = type(taps)(taps.pixels[:, :0], taps.weights[:, :0])
    assert hidden_layer(maps, none, code[:, :0], weight, bias).shape == (2, 0, 6)
