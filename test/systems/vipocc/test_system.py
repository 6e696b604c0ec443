"""ViPOcc's depth branch as part of the system."""

import numpy as np
import pytest
import torch
from blocks.tiny_priors import write_depth_anything
from systems.field_rigs import build, camera, frame
from torch import nn

from occ_perception.core.errors import ConfigError, ImageError, PredictionError, WeightsError
from occ_perception.ros.system_settings import ViPOccNodeSettings
from occ_perception.systems.base import Concern, Context

DEPTH = Context(1, wanted=frozenset({"depth"}))
WANTED = Context(1, wanted=frozenset({"depth", "predicted_depth"}))


class Ramp(nn.Module):
    """Pseudo depth that grows from left to right, 10 to 20 m."""

    def forward(self, image):
        return torch.linspace(10, 20, image.shape[-1]).expand_as(image[:, :1])


@pytest.fixture
def system():
    """Its residual is zero: the branch answers with the pseudo depth."""
    torch.manual_seed(0)
    system = build("vipocc")
    output = system.network.depth_net.residual.decoder.output
    nn.init.zeros_(output.weight), nn.init.zeros_(output.bias)
    return system


def predicted(system, given, **kwargs):
    return system.infer([system.preprocess(given)], WANTED, **kwargs).extras["predicted_depth"]


def test_the_branch_corrects_the_prior(system):
    assert any("does not run" in note for note in system.notes())
    system.attach_prior(Ramp())
    assert not any(isinstance(note, Concern) for note in system.notes())
    depth = predicted(system, frame())
    torch.testing.assert_close(depth[5], torch.linspace(10, 20, 128))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda image: image[:, :1] * float("nan"), "prior answered with NaN; check its weights"),
        (
            lambda image: image[:, :1, ::2],
            r"answered with \(1, 1, 32, 128\) for an image of 128x64",
        ),
    ],
)
def test_a_prior_that_cannot_be_used_says_so_where_its_depth_is_wanted(system, answer, words):
    prior = Ramp()
    prior.forward = answer
    system.attach_prior(prior)
    with pytest.raises(PredictionError, match=words):
        predicted(system, frame())
    assert "depth" in system.infer([system.preprocess(frame())], DEPTH).extras


def test_a_saved_depth_anything_is_a_prior(system, tmp_path):
    settings = ViPOccNodeSettings(depth_prior=str(write_depth_anything(tmp_path)))
    settings.complete(system)
    depth = predicted(system, frame())
    assert depth.shape == system.config.input_size
    assert depth.isfinite().all() and depth.min() > 0
    assert len(depth.unique()) > 100
    with pytest.raises(WeightsError, match=r"nothing\.safetensors"):
        ViPOccNodeSettings(depth_prior=str(tmp_path / "nothing.safetensors")).complete(system)


def test_a_given_pseudo_depth_comes_before_the_prior(system):
    system.attach_prior(Ramp())
    depth = predicted(system, frame(), pseudo_depth_m=torch.full((96, 192), 7.0))
    torch.testing.assert_close(depth, torch.full((64, 128), 7.0))


def test_pseudo_depth_goes_the_way_of_its_image(system):
    """Of a square image the network sees the middle: so do depth and answer."""
    rows = torch.arange(1.0, 201).view(-1, 1).expand(200, 200) / 4
    depth = predicted(system, frame(camera(200, 200)), pseudo_depth_m=rows)
    assert depth[0].isnan().all()
    seen = depth[:, 60].isfinite().nonzero()[:, 0]
    rows_seen = (seen.numpy() + 0.5) * 200 / 64
    assert np.abs(depth[seen, 60].numpy() - rows_seen / 4).max() < 0.9


@pytest.mark.parametrize(
    ("depth", "words"),
    [
        (torch.ones(96, 100), "100x96"),
        (torch.full((96, 192), float("nan")), "18432 pixels without"),
        (torch.zeros(96, 192), "without a depth"),
    ],
)
def test_pseudo_depth_of_another_size_or_with_holes_is_refused(system, depth, words):
    with pytest.raises(ImageError, match=words):
        predicted(system, frame(), pseudo_depth_m=depth)


def test_inverse_depth_below_zero_is_far(system):
    nn.init.constant_(system.network.depth_net.residual.decoder.output.bias, -5.0)
    depth = predicted(system, frame(), pseudo_depth_m=torch.full((96, 192), 20.0))
    assert torch.equal(depth, torch.full_like(depth, system.config.far_m))


def test_bts_offers_rendered_depth_only():
    bts = build("vipocc", depth_branch=False)
    assert bts.offers == ("depth",) and not any("branch" in note for note in bts.notes())
    with pytest.raises(ConfigError, match="BTS"):
        bts.attach_prior(Ramp())
