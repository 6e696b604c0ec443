"""Vectors at LiDAR pixels, by a tiny CLIP that was converted like the real one."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from occ_perception.core.errors import WeightsError
from occ_perception.systems.langocc.reducer import ClipReducer
from occ_perception.weights.convert import convert_state
from occ_perception.weights.files import write_weights
from occ_training.labels.bag_images import BagImages
from occ_training.labels.image_labeler import ImageLabeler
from occ_training.labels.maskclip import (
    ClipCheckpoint,
    ClipConfig,
    LanguageRays,
    StudentCheckpoint,
    StudentConfig,
    load_reading,
)
from occ_training.labels.maskclip_student import NAMES
from occ_training.labels.maskclip_vit import MaskClipViT

TINY = ClipConfig(channels=16, depth=1, heads=2, patch=16, grid=2, embedding=8)


def official_clip(network):
    """The names of open_clip."""
    state = {}
    for ours, tensor in network.state_dict().items():
        name = ours.replace("blocks.", "transformer.resblocks.").replace(".norm", ".ln_")
        for a, b in (
            ("mlp.0", "mlp.c_fc"), ("mlp.2", "mlp.c_proj"), ("attention", "attn"),
            ("patch_embed", "conv1"), ("norm_before", "ln_pre"), ("norm_after", "ln_post"),
        ):  # fmt: skip
            name = name.replace(a, b)
        state[f"visual.{name}"] = tensor
    state["visual.class_embedding"] = state.pop("visual.cls_token")[0, 0]
    state["visual.positional_embedding"] = state.pop("visual.pos_embed")[0]
    state["visual.proj"] = state.pop("visual.project.weight")[..., 0, 0].T
    return state | {"token_embedding.weight": torch.zeros(3, 3), "logit_scale": torch.ones(())}


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    network = MaskClipViT(**vars(TINY))
    torch.nn.init.normal_(network.pos_embed)
    return network.eval()


@pytest.fixture(scope="module")
def clip_file(clip, tmp_path_factory):
    checkpoint = ClipCheckpoint(TINY)
    state, report = convert_state(checkpoint, official_clip(clip), "clip")
    assert report.dropped == {"CLIP's text side, and sizes": 2}
    path = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    about = {"system": "maskclip", "config": checkpoint.config(), "labels": "clip", "grid": {}}
    write_weights(path, state, about | {"source": "x", "source_sha256": "0", "licence": "?"})
    return path


def test_rays_carry_the_vectors_of_their_pixels(surround_bag, clip, clip_file):
    images = BagImages(surround_bag)
    reading = load_reading(clip_file)
    object.__setattr__(reading, "fits", (176, 64))
    labeler = ImageLabeler(images, LanguageRays(reading))
    assert labeler.identity.startswith("maskclip ")
    rays, language = labeler.answer(1)
    assert rays.topic.endswith("/rays") and language.topic.endswith("/language")
    assert language.values.shape == (1, rays.values.shape[1], 8)
    assert language.values.dtype == np.float16

    with torch.no_grad():
        maps = clip(reading.prepare(images[1].rgb)).vectors
    whole = F.normalize(F.interpolate(maps, (64, 176), mode="bilinear"), dim=1)[0]
    row, column = rays.values[0, :, 0], rays.values[0, :, 1]
    inside = (row > 1) & (row < 62) & (column > 1) & (column < 174)
    near = whole[:, row[inside].astype(int), column[inside].astype(int)].T.numpy()
    cosine = (near * language.values[0, inside].astype(np.float32)).sum(axis=1)
    assert cosine.mean() > 0.95


def test_a_reducer_keeps_fewer_channels_and_another_name(surround_bag, clip_file):
    reading = load_reading(clip_file)
    object.__setattr__(reading, "fits", (176, 64))
    torch.manual_seed(0)
    teacher = LanguageRays(reading, reducer=ClipReducer(8, 2))
    _, language = ImageLabeler(BagImages(surround_bag), teacher).answer(0)
    assert language.values.shape[2] == 2 and "in 2 of 8 channels" in teacher.name
    lengths = np.linalg.norm(language.values[0].astype(np.float32), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=2e-3)


def test_images_are_resized_as_published(clip_file):
    reading = load_reading(clip_file)
    object.__setattr__(reading, "patch", 1)
    assert reading.prepare(np.zeros((900, 1600, 3), np.uint8)).shape == (1, 3, 1024, 1820)


def test_the_students_official_layout_is_strict():
    checkpoint = StudentCheckpoint(StudentConfig(8))
    with torch.device("meta"):
        ours = checkpoint.network().state_dict()
    official = NAMES.export({k: v for k, v in ours.items() if "num_batches" not in k})
    extra = {"decode_head.conv_seg.weight": torch.zeros(1), "auxiliary_head.x": torch.zeros(1)}
    state, report = convert_state(checkpoint, official | extra, "student")
    assert len(state) == len(official) and sum(report.dropped.values()) == 2
    deeper = {"backbone.layer3.6.conv1.weight": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"backbone\.layer3\.6"):
        convert_state(checkpoint, official | deeper, "student")
