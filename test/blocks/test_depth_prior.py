"""The pseudo depth's teacher, as far as it can be told without its weights."""

import json

import pytest
import torch
from blocks.tiny_priors import write_depth_anything

from occ_perception.blocks.depth_prior import (
    DepthPriorConfig,
    PretrainedPrior,
    prepared,
    scaled_positions,
)
from occ_perception.core.errors import ConfigError

SIZE = (24, 80)


@pytest.mark.parametrize(
    ("image", "wanted"),
    [((192, 640), (518, 1722)), ((518, 518), (518, 518)), ((376, 1408), (518, 1946))],
)
def test_the_input_keeps_the_aspect_in_whole_patches(image, wanted):
    assert DepthPriorConfig(image_size=image).input_size == wanted


def test_positions_of_the_same_grid_stay_bitwise():
    table = torch.randn(1, 10, 4)
    assert scaled_positions(table, (3, 3), (3, 3)) is table


def test_positions_are_scaled_not_resized():
    table = torch.randn(1, 10, 4)
    scaled = scaled_positions(table, (3, 3), (4, 5))
    patches = table[:, 1:].mT.unflatten(2, (3, 3))
    resized = torch.nn.functional.interpolate(patches, size=(4, 5), mode="bicubic")
    assert scaled.shape == (1, 21, 4)
    assert torch.equal(scaled[:, 0], table[:, 0])
    assert not torch.allclose(scaled[:, 1:], resized.flatten(2).mT, atol=1e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_depth_anything(tmp_path_factory.mktemp("prior"))


def test_a_saved_model_answers_in_metres_at_the_size_of_the_image(folder):
    prior = PretrainedPrior.of_folder(folder, SIZE)
    assert prior.input_size == (28, 98)
    depth = prior(torch.rand(2, 3, *SIZE))
    assert depth.shape == (2, 1, *SIZE) and not depth.requires_grad
    assert 0 < depth.min() < depth.max() < 80


def test_a_saved_model_is_shown_what_the_converted_one_is(folder):
    seen = []
    prior = PretrainedPrior.of_folder(folder, SIZE)
    prior.network.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["pixel_values"]), with_kwargs=True
    )
    image = torch.rand(1, 3, *SIZE)
    depth = prior(image)
    config = DepthPriorConfig(SIZE, least_side=28)
    assert torch.equal(seen[0], prepared(image, config.input_size))
    answered = prior.network(pixel_values=seen[0]).predicted_depth
    assert answered.shape == (1, 28, 98)
    assert torch.equal(depth[0, 0, 0, 0], answered[0, 0, 0])  # corners stay corners


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: (f / "config.json").unlink(), "holds no AutoModelForDepthEstimation"),
        (lambda f: (f / "model.safetensors").write_bytes(b"no weights"), "can be used"),
        (lambda f: edit(f, depth_estimation_type="relative"), "gives relative depth"),
        (lambda f: edit(f, fusion_hidden_size=6), "can be used"),
        (lambda f: edit(f, model_type="zoedepth"), "belong to another model"),
    ],
)
def test_what_is_no_metric_depth_anything_is_refused_in_one_sentence(tmp_path, change, words):
    change(write_depth_anything(tmp_path))
    with pytest.raises(ConfigError, match=words) as refused:
        PretrainedPrior.of_folder(tmp_path, SIZE)
    assert "\n" not in str(refused.value)


def test_weights_that_are_not_all_there_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    file = write_depth_anything(tmp_path) / "model.safetensors"
    tensors = load_file(file)
    tensors.pop("head.conv3.weight")
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ConfigError, match=r"lack 1 tensors .* the first is head\.conv3\.weight"):
        PretrainedPrior.of_folder(tmp_path, SIZE)


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
