"""What SceneDINO makes of a field: classes, their names, colours that stay."""

import pytest
import torch
from systems.field_rigs import SCENEDINO, build, camera, frame

from occ_perception.core.cityscapes import SSCBENCH_15_OF_TRAIN_ID
from occ_perception.core.labels import load_label_map
from occ_perception.systems.base import NOT_SEEN, PIXEL_CLASSES, Concern, Context
from occ_perception.systems.scenedino.classes import cluster_labels
from occ_perception.systems.scenedino.feature_picture import LatentColours
from occ_perception.systems.scenedino.folded_head import FoldedHead
from occ_perception.systems.scenedino.semantic_head import SemanticMode


@pytest.fixture
def system():
    torch.manual_seed(0)
    return build("scenedino")


def answer(system, wanted=frozenset()):
    return system.infer([system.preprocess(frame())], Context(1, wanted=wanted))


@pytest.mark.parametrize("mode", list(SemanticMode))
def test_the_folded_head_says_what_the_plain_one_does(system, mode):
    network, hidden = system.network, torch.rand(500, SCENEDINO.hidden_channels)
    for parameter in (*network.expansion.parameters(), *network.semantics.parameters()):
        torch.nn.init.normal_(parameter)
    network.semantics.stego_clusters.assignment.copy_(torch.tensor([4, 2, 0, 1, 3]))
    with torch.no_grad():
        features = network.expansion(network.field.latent(hidden))
        plain = network.semantics.classes(features, mode)
        folded = FoldedHead(network.field, network.expansion, network.semantics, mode)
        ours = folded.classes(hidden)
    assert len(plain.unique()) > 1
    assert float((ours == plain).float().mean()) >= 0.998  # ties of float32


def test_clusters_without_a_meaning_are_numbered_and_said_to_be(system):
    prediction = answer(system)
    assert system.labels == cluster_labels(5)
    assert system.labels.names[3] == "cluster 2"
    assert any(isinstance(note, Concern) and "cluster" in note for note in system.notes())
    occupied = prediction.labels[(prediction.labels > 0) & (prediction.labels < 255)]
    assert int(occupied.min()) >= 1 and int(occupied.max()) <= 5


def test_benchmarks_get_the_answer_of_every_pixel():
    """The strips are one picture, and each pixel says what its ray says alone."""
    torch.manual_seed(0)
    system = build("scenedino", picture_stride=1)
    assert PIXEL_CLASSES not in system.offers
    wanted = frozenset({PIXEL_CLASSES, "segmentation"})
    extras = answer(system, wanted).extras
    assert extras[PIXEL_CLASSES].shape == system.config.input_size
    assert len(extras[PIXEL_CLASSES].unique()) > 1
    assert torch.equal(extras[PIXEL_CLASSES] + 1, extras["segmentation"])
    tall = system.preprocess(frame(camera(width=96, height=192)))
    cut = system.infer([tall], Context(1, wanted=wanted)).extras[PIXEL_CLASSES]
    assert (cut[0] == NOT_SEEN).all() and (cut[16] < 5).any()


def test_an_assignment_gives_them_the_classes_of_the_benchmark(system):
    numbered = answer(system).labels
    train_ids = torch.tensor([13, 0, 8, 2, 10])  # car, road, vegetation, building, sky
    system.network.semantics.stego_clusters.assignment.copy_(train_ids)
    prediction = answer(system)
    assert system.labels == load_label_map("sscbench_15")
    assert not any(isinstance(note, Concern) for note in system.notes())
    for cluster, train_id in enumerate(train_ids.tolist()):
        here = numbered == cluster + 1
        assert (prediction.labels[here] == SSCBENCH_15_OF_TRAIN_ID[train_id]).all()


def test_the_first_stage_knows_occupied_and_free(system):
    first = build("scenedino", classes=0)
    prediction = answer(first, frozenset({"segmentation"}))
    assert first.labels == load_label_map("occupancy") and prediction.extras == {}
    assert set(prediction.labels.unique().tolist()) <= {0, 1, 255}


def test_empty_space_has_no_class(system):
    with torch.no_grad():
        system.field.lin_out.bias[0] = -50
    prediction = answer(system)
    assert (prediction.labels[prediction.known] == 0).all()


def test_pictures_are_as_large_as_the_depth(system):
    extras = answer(system, frozenset(system.offers)).extras
    size = extras["depth"].shape
    assert extras["feature_picture"].shape == (*size, 3)
    assert extras["segmentation"].shape == size
    assert {extras[n].dtype for n in ("feature_picture", "segmentation")} == {torch.uint8}


def test_colours_of_a_changing_scene_neither_swap_nor_flip():
    """Two components of nearly equal strength take turns in being the stronger one."""
    generator = torch.Generator().manual_seed(0)
    colours = LatentColours()
    latents = torch.randn(400, 6, generator=generator)
    first = None
    for step in range(40):
        scale = torch.tensor([1.0, 1.1, 0.9, 0.1, 0.1, 0.1])
        scale[step % 2] *= 1.3
        shown = colours(latents * scale).float()
        first = shown if first is None else first
        assert float((shown - first).abs().mean()) < 40  # of 255; a flip makes about 90
    colours.reset()
    again = colours(latents * torch.tensor([1.3, 1.1, 0.9, 0.1, 0.1, 0.1])).float()
    torch.testing.assert_close(again, first)


def test_shades_fill_their_range():
    shown = LatentColours()(torch.randn(500, 8) * 7 + 3).float()
    assert shown.mean() == pytest.approx(127, abs=10) and shown.amin() < 20 and shown.amax() > 235
