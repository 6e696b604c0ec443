import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from training.recipes.tiny_langocc import CONFIG as TINY

from occ_perception.core.errors import BagError
from occ_perception.systems.langocc.config import SURROUND_CAMERAS
from occ_training.data.bag_scene import Bags
from occ_training.data.beam_sight import BeamSightSpec
from occ_training.labels.bag_images import BagImages
from occ_training.labels.image_labeler import ImageLabeler
from occ_training.labels.layers import LANGUAGE
from occ_training.labels.toy_layers import ToyLayers
from occ_training.labels.worker import Shard, label
from occ_training.recipes.langocc import PRESETS, build_recipe
from occ_training.recipes.langocc_data import (
    LangOccDataset,
    LanguageTopics,
    RayTargets,
    key_frames,
)
from occ_training.recipes.langocc_step import collate

REDUCED = dataclasses.replace(TINY, cameras=SURROUND_CAMERAS)
CONFIG = dataclasses.replace(REDUCED, language_channels=16)
TARGETS = RayTargets(count=200, horizon=2)


@pytest.fixture(scope="module")
def ring(surround_bag, tmp_path_factory):
    """Two key frames with the toy teacher's words."""
    out = tmp_path_factory.mktemp("words")
    label(ImageLabeler(BagImages(surround_bag), ToyLayers((LANGUAGE,), channels=16)), out, Shard())
    return Bags(surround_bag, (out / surround_bag.name,))


def dataset(ring, **changes):
    return LangOccDataset([ring], CONFIG, TARGETS, **({"augments": False} | changes))


def test_a_sample_of_a_bag_is_what_the_network_takes(ring):
    found = dataset(ring)
    assert len(found) == 2
    sample = found[1]
    assert sample.images.shape == (3, 6, 3, *CONFIG.input_size)
    assert torch.equal(sample.images[1], found[0].images[0])  # the key frame before
    assert torch.equal(found[0].images[2], found[0].images[0])  # there is none: itself
    assert sample.targets.shape == (200, 16) and sample.weights.sum() == 200
    torch.testing.assert_close(sample.rays.directions.norm(dim=1), torch.ones(200))
    assert (sample.rays.origins.norm(dim=1) < 12).all()  # at the cameras of both key frames
    assert collate([sample, found[0]]).images.shape[0] == 2


def test_beams_tell_of_voxels_in_the_mirrored_frame(ring):
    """On all of them something is known, and most of what is there is ground."""
    targets = RayTargets(count=50, sight=BeamSightSpec(occupied=100, free=100))
    topics = LanguageTopics(depth="/ground_truth/{camera}/depth")
    made = LangOccDataset([ring], CONFIG, targets, topics, augments=False)
    plain = made[1].sight
    assert (plain.voxels >= 0).all() and not plain.labels.any()
    heights = plain.voxels % CONFIG.shape[2]
    assert heights[~plain.free].float().mean() < heights[plain.free].float().mean()
    made._turn = lambda random: torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    mirrored = made[1].sight
    before, after = (np.unravel_index(s.voxels.numpy(), CONFIG.shape) for s in (plain, mirrored))
    assert (before[0] + after[0] == CONFIG.shape[0] - 1).all()
    assert (before[1] == after[1]).all() and (before[2] == after[2]).all()


def test_missing_rays_fill_up_with_weight_nothing(ring):
    sample = dataset(ring)
    sample.targets = RayTargets(count=10**6, horizon=0)
    filled = sample[0]
    count = int(filled.weights.sum())
    assert 500 < count < 10**5
    assert filled.weights[:count].all() and not filled.targets[count:].any()


def test_augmentation_mirrors_rays_and_is_the_same_whoever_asks(ring):
    first, second = (dataset(ring, augments=True, seed=3) for _ in range(2))
    assert torch.equal(first[0].rays.directions, second[0].rays.directions)
    assert torch.equal(first[0].images, second[0].images)
    second.set_epoch(1)
    assert not torch.equal(first[0].images, second[0].images)
    turns = []
    for epoch in range(8):
        first.set_epoch(epoch)
        turns.append(first[0].geometry.augmentation[0].diagonal().tolist())
    assert len({tuple(turn) for turn in turns}) > 1 and all(turn[2] == 1 for turn in turns)


def test_reduced_targets_are_unit_vectors_of_the_subspace(ring):
    basis = torch.eye(16)[:, :6]
    reduced = LangOccDataset(
        [ring], REDUCED, TARGETS, reduce=lambda v: F.normalize(v @ basis, dim=-1)
    )[0]
    assert reduced.targets.shape == (200, 6)
    torch.testing.assert_close(reduced.targets.norm(dim=1), torch.ones(200), atol=2e-3, rtol=0)


OTHER = dataclasses.replace(CONFIG, clip_channels=20, language_channels=20)


def test_vectors_of_another_clip_are_refused(ring):
    other = LangOccDataset([ring], OTHER, TARGETS)
    with pytest.raises(BagError, match=r"vectors of 16 values.*CLIP of 20"):
        other[0]


def test_a_recipe_of_a_bag_takes_a_step(ring, tmp_path):
    preset = PRESETS["nano"](tmp_path)
    training = dataclasses.replace(preset.training, targets=TARGETS)
    preset = dataclasses.replace(preset, network=REDUCED, training=training)
    made = build_recipe(preset, [ring])
    before = made.network.reducer.U.clone()
    loss = made.losses(made.network.train(), collate([made.dataset[0]]))["language"]
    loss.backward()
    made.optimizer.step()
    assert loss.isfinite() and torch.equal(made.network.reducer.U, before)


def test_key_frames_hold_the_pose_of_every_image(ring):
    drive, key = dataset(ring).source.place_of(1)
    from occ_perception.blocks.surround_input import fit_image

    fits = [fit_image(*size, CONFIG.input_size) for size in drive.sizes(key)]
    _, geometry = key_frames(drive, key, fits, torch.eye(3))
    torch.testing.assert_close(
        geometry.T_world_cam()[0, 0], torch.from_numpy(drive.T_world_cam(key))
    )
