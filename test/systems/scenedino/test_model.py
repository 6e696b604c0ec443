"""SceneDINO at toy size: its answers, its semantic head and its targets."""

import dataclasses

import pytest
import torch
from systems.field_rigs import SCENEDINO as TOY

from occ_perception.blocks.fields.pixel_field import keep_all, keep_visible
from occ_perception.core.errors import ConfigError
from occ_perception.systems.scenedino.config import SceneDinoConfig
from occ_perception.systems.scenedino.model import SceneDino
from occ_perception.systems.scenedino.semantic_head import (
    ClusterHead,
    SemanticHead,
    SemanticMode,
    drop_channels,
)
from occ_perception.systems.scenedino.targets import (
    FeatureTargets,
    SalienceDownsampler,
    cut_patches,
)
from occ_perception.voxels.density import grow

K = torch.tensor([[0.8, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return SceneDino(TOY).eval()


@pytest.fixture
def located(model):
    axis = torch.linspace(-30, 30, 9)
    points = torch.cartesian_prod(axis, axis, axis)[None]
    return model.field.locate(points, torch.eye(4)[None], K[None], TOY.map_size)


def test_classes_are_given_where_it_is_dense_only(model, located):
    image = torch.rand(1, 3, 32, 64)
    whole = model.field(model.encode(image), located)
    threshold = float(whole.density.detach()[~located.outside].quantile(0.9))
    strict = dataclasses.replace(TOY, occupied_density=threshold)
    model.config = strict
    voxels = model(image, keep_visible(located), (9, 9, 9))
    model.config = TOY
    seen = ~located.outside.view(9, 9, 9)
    dense = grow(torch.where(seen, whole.density.view(9, 9, 9), 0.0)) >= threshold
    assert torch.equal(voxels.density.isnan(), ~seen)
    assert torch.equal(voxels.classes >= 0, dense & seen)
    every = model.semantics.classes(model.expansion(whole.latent[0])).view(9, 9, 9)
    assert torch.equal(voxels.classes[dense & seen], every[dense & seen])


def test_surfaces_are_thickened_unless_the_field_was_taught_voxels(model):
    density = torch.zeros(3, 3, 3)
    density[1, 1, 1] = 2.0
    assert (model.thick(density) == 2.0).all()
    taught = SceneDino(dataclasses.replace(TOY, grows_surfaces=False))
    assert torch.equal(taught.thick(density), density)


def test_benchmarks_may_ask_behind_the_camera_too(model, located):
    voxels = model(torch.rand(1, 3, 32, 64), keep_all(located), (9, 9, 9))
    assert not voxels.density.isnan().any()


def test_the_field_stands_at_sixteen_times_the_grid(model):
    assert model.encode(torch.rand(1, 3, 32, 64)).shape == (1, 8, 32, 64)


def test_modes_agree_with_the_full_answer():
    torch.manual_seed(0)
    head = SemanticHead(16, 4, 5).eval()
    features = torch.randn(40, 16)
    full = head(features)
    wanted = {
        SemanticMode.STEGO_KMEANS: full.stego_clusters,
        SemanticMode.STEGO_LINEAR: full.stego_logits,
        SemanticMode.DIRECT_KMEANS: full.direct_clusters,
        SemanticMode.DIRECT_LINEAR: full.direct_logits,
    }
    for mode, scores in wanted.items():
        assert torch.equal(head.classes(features, mode), scores.argmax(dim=-1))


def test_clusters_stand_for_assigned_classes():
    head = ClusterHead(4, 3)
    head.assignment.copy_(torch.tensor([2, 0, 1]))
    assert head.class_of(torch.tensor([0, 1, 2, 0])).tolist() == [2, 0, 1, 2]


def test_dropping_removes_a_channel_from_all_samples_of_a_crop():
    torch.manual_seed(0)
    dropped = drop_channels(torch.ones(3, 50, 200), 0.5, training=True)
    assert ((dropped == 0).all(dim=1) | (dropped == 2).all(dim=1)).all()
    assert 0.3 < (dropped[:, 0] == 0).float().mean() < 0.7
    assert drop_channels(torch.ones(3, 5, 2), 0.5, training=False).eq(1).all()


def test_pooling_a_constant_patch_returns_it():
    pool = SalienceDownsampler(6, 4)
    feature = torch.nn.functional.normalize(torch.randn(6), dim=0)
    patches = feature.expand(2, 4, 4, 6)
    torch.testing.assert_close(pool(patches), feature.expand(2, 6))
    torch.testing.assert_close(pool.weights(patches).sum(dim=(1, 2)), torch.ones(2))


def test_patches_are_cut_row_by_row():
    maps = torch.arange(4 * 6).view(4, 6, 1).float()
    patches = cut_patches(maps, 2)
    assert patches.shape == (2, 3, 2, 2, 1)
    assert patches[1, 2, ..., 0].tolist() == [[16, 17], [22, 23]]


def test_targets_follow_the_shifted_grid():
    torch.manual_seed(0)
    targets = FeatureTargets(TOY).train()
    assert not targets.encoder.training
    image = torch.rand(1, 3, 32, 64)
    moved = torch.nn.functional.pad(image, (4, 4, 4, 4), mode="replicate")[..., 2:34, 7:71]
    shifted = targets.features(image, (-2, 3))
    torch.testing.assert_close(shifted, targets.features(moved), rtol=1e-4, atol=1e-5)


def test_images_that_are_not_whole_patches_are_refused():
    with pytest.raises(ConfigError, match="multiples of 16"):
        SceneDinoConfig(input_size=(190, 640))
