"""LangOcc behind the common contract, at a tiny size."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from occ_perception.core.camera import Camera
from occ_perception.core.errors import CalibrationError, ConfigError, PredictionError
from occ_perception.core.types import CameraFrame
from occ_perception.geometry.transforms import R_BODY_OPTICAL, transform
from occ_perception.systems.base import Context
from occ_perception.systems.langocc.config import LangOccConfig
from occ_perception.systems.langocc.system import LangOccSystem
from occ_perception.text.embeddings import TextEmbeddings
from occ_perception.text.vocabulary import Vocabulary
from occ_perception.text.wording import wordings_of

CONFIG = dataclasses.replace(
    LangOccConfig.nano(),
    input_size=(64, 96),
    source_width=None,
    cameras=("front", "back"),
    neck_channels=16,
    aspp_channels=4,
    context_channels=4,
    bins=12,
    stage_channels=(4, 6, 8),
    stage_blocks=(1, 1, 1),
    scene_channels=8,
    language_channels=6,
    clip="stand-in",
    clip_channels=16,
    origin_m=(-8.0, -8.0, -1.0),
    voxel_m=1.0,
    shape=(16, 16, 4),
    coarseness=(1, 1, 1),
    free_below=0.4,
)
STEP_NS = 500_000_000
WORDS = Vocabulary("w", ("car", "tree"), (4, 16))


def embeddings(width=16, seed=0):
    g = torch.Generator().manual_seed(seed)
    vectors = F.normalize(torch.randn(2, width, generator=g), dim=-1)
    return TextEmbeddings("stand-in", False, WORDS.prompts, vectors)


@pytest.fixture
def system():
    torch.manual_seed(0)
    made = LangOccSystem(CONFIG)
    made.set_prompts(WORDS, embeddings())
    return made


def frame(name, seed):
    P = np.array([[50.0, 0, 60, 0], [0, 50.0, 40, 0], [0, 0, 1, 0]])
    pose = np.eye(4)
    pose[:3, :3] = R_BODY_OPTICAL
    if name == "back":
        pose[:3, :3] = np.diag([-1.0, -1, 1]) @ R_BODY_OPTICAL
    image = np.random.default_rng(seed).integers(0, 255, (80, 120, 3), dtype=np.uint8)
    return CameraFrame(image, Camera(name, P, 120, 80, pose), stamp_ns=5)


def predict(system, step, cameras=CONFIG.cameras, pose=True):
    views = [system.preprocess(frame(name, step)) for name in cameras]
    T = transform([100.0 + step, 50.0, 0]) if pose else None
    return system.infer(views, Context(stamp_ns=step * STEP_NS, T_world_base=T))


def test_views_become_voxels_of_the_prompts_classes(system):
    prediction = predict(system, 1)
    assert tuple(prediction.labels.shape) == CONFIG.shape
    found = set(prediction.labels.unique().tolist())
    assert found <= {4, 16, 17}
    assert found & {4, 16}
    free = prediction.labels == 17
    assert (prediction.extras["density"][free] < CONFIG.free_below).all()


def test_prompts_may_change_between_frames(system):
    before = predict(system, 1).labels
    swapped = Vocabulary("w", WORDS.prompts, (16, 4))
    system.set_prompts(swapped, embeddings())
    system.reset()
    after = predict(system, 1).labels
    assert torch.equal(before == 4, after == 16)
    assert torch.equal(before == 17, after == 17)


def test_what_fits_no_prompt_is_something_else_and_never_free():
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, clip="toy text encoder", clip_channels=128)
    system, found = LangOccSystem(config), {}
    wordings = wordings_of(config, "occ3d_nuscenes", "", "cpu")
    every = wordings.of(()).vocabulary
    for words in ((), ("car", "road")):
        wording = wordings.of(words)
        system.set_prompts(wording.vocabulary, wording.embeddings)
        system.reset()
        found[words] = predict(system, 1).labels
    before, after = found[()], found["car", "road"]
    classes = dict(zip(every.prompts, every.class_ids, strict=True))
    of_prompts = torch.isin(before, torch.tensor([classes["car"], classes["road"]]))
    occupied, other = before != 17, wording.vocabulary.class_ids[-1]
    assert torch.equal(after != 17, occupied)
    others = occupied & ~of_prompts
    assert others.any() and (after[others] == other).all()


def test_words_can_be_asked_for_voxel_by_voxel(system):
    with pytest.raises(ConfigError, match="not seen a frame"):
        system.query(embeddings().vectors)
    labels = predict(system, 1).labels
    similar = system.query(embeddings().vectors)
    assert similar.shape == (2, *CONFIG.shape)
    best = torch.tensor(WORDS.class_ids)[similar.argmax(dim=0)]
    occupied = labels != 17
    assert torch.equal(best[occupied], labels[occupied].long())


def test_the_past_counts_until_it_is_forgotten(system):
    alone = predict(system, 2).extras["density"]
    system.reset()
    predict(system, 1)
    assert not torch.allclose(predict(system, 2).extras["density"], alone)
    system.reset()
    torch.testing.assert_close(predict(system, 2).extras["density"], alone)
    torch.testing.assert_close(predict(system, 2).extras["density"], alone)  # a repeated stamp
    torch.testing.assert_close(predict(system, 2, pose=False).extras["density"], alone)


def test_other_rigs_work(system):
    prediction = predict(system, 1, cameras=("front", "back", "front"))
    assert tuple(prediction.labels.shape) == CONFIG.shape
    with pytest.raises(CalibrationError, match="no camera"):
        system.infer([], Context(stamp_ns=9 * STEP_NS))


def test_prompts_are_needed_and_must_be_of_the_right_space(system):
    with pytest.raises(ConfigError, match="no prompts"):
        predict(LangOccSystem(CONFIG), 1)
    with pytest.raises(ConfigError, match="CLIP of 16"):
        system.set_prompts(WORDS, embeddings(width=20))
    with pytest.raises(ConfigError, match="'bus'"):
        system.set_prompts(Vocabulary("w", ("bus",), (3,)), embeddings())


def test_nan_is_never_an_answer_and_never_remembered(system):
    last = system.network.density_head[-1]
    with torch.no_grad():
        kept = last.bias.clone()
        last.bias.fill_(torch.nan)
        with pytest.raises(PredictionError, match="NaN"):
            predict(system, 1)
        last.bias.copy_(kept)
    assert predict(system, 2).extras["density"].isfinite().all()


@pytest.mark.parametrize("precision", ["bf16"])
def test_mixed_precision_gives_nearly_the_same(system, precision):
    exact = predict(system, 1).extras["density"]
    torch.manual_seed(0)
    mixed = LangOccSystem(CONFIG, precision=precision)
    mixed.set_prompts(WORDS, embeddings())
    density = predict(mixed, 1).extras["density"]
    torch.testing.assert_close(density, exact, rtol=0, atol=0.05)


def test_prompts_of_another_clip_are_refused_whatever_their_size(system):
    other = dataclasses.replace(embeddings(), clip="ViT-L-14/openai")
    with pytest.raises(ConfigError, match="trained with stand-in"):
        system.set_prompts(WORDS, other)


def test_words_set_at_once_and_words_asked_for_agree(system):
    predict(system, 1)
    labels = system.infer([system.preprocess(frame(n, 1)) for n in CONFIG.cameras],
                          Context(stamp_ns=2 * STEP_NS)).labels  # fmt: skip
    similar = system.query(embeddings().find(WORDS.prompts))
    occupied = labels != 17
    best = torch.tensor(WORDS.class_ids, dtype=torch.uint8)[similar.argmax(dim=0)]
    assert torch.equal(best[occupied], labels[occupied])


def test_wider_images_are_shrunk_to_what_the_network_knows(system):
    small = LangOccSystem(dataclasses.replace(CONFIG, source_width=60))
    fine, coarse = (each.preprocess(frame("front", 1)) for each in (system, small))
    assert fine.image.shape == coarse.image.shape and coarse.camera.width == 60
    assert coarse.image.std() < fine.image.std()  # noise of single pixels is gone
    point = np.array([0.7, 0.2, 5.0])  # where it is seen stays the same, to half a pixel
    seen = [v.image_transform @ v.camera.K @ point / 5 for v in (fine, coarse)]
    np.testing.assert_allclose(*seen, atol=0.6)
