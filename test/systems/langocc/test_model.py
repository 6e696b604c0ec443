"""The whole network at a tiny size, and its stream against the batch."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from occ_perception.core.errors import CalibrationError, ConfigError
from occ_perception.systems.langocc.config import LangOccConfig
from occ_perception.systems.langocc.geometry import SurroundGeometry
from occ_perception.systems.langocc.heads import fold_prompts, similarity
from occ_perception.systems.langocc.history import FrameGeometry, LangOccHistory
from occ_perception.systems.langocc.model import LangOcc
from occ_perception.text.vocabulary import Vocabulary

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
    clip_channels=16,
    origin_m=(-8.0, -8.0, -1.0),
    voxel_m=1.0,
    shape=(16, 16, 4),
    coarseness=(1, 1, 1),
)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return LangOcc(CONFIG).eval()


def geometry(frames=3):
    """A car that drives forward and turns a little; frame 0 is now."""
    optical = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    mounts = torch.eye(4).repeat(1, frames, 2, 1, 1)
    mounts[..., 0, :3, :3] = optical
    mounts[..., 1, :3, :3] = torch.diag(torch.tensor([-1.0, -1, 1])) @ optical
    poses = torch.eye(4).repeat(1, frames, 2, 1, 1)
    for frame in range(frames):
        angle = torch.tensor(-0.03 * frame)
        poses[0, frame, :, 0, 0] = poses[0, frame, :, 1, 1] = angle.cos()
        poses[0, frame, :, 1, 0], poses[0, frame, :, 0, 1] = angle.sin(), -angle.sin()
        poses[0, frame, :, 0, 3] = 500.0 - 0.8 * frame
    K = torch.tensor([[50.0, 0, 48], [0, 50, 32], [0, 0, 1]]).expand(1, frames, 2, 3, 3)
    fit = torch.eye(3).expand(1, frames, 2, 3, 3)
    return SurroundGeometry(mounts, poses, K, fit, torch.eye(3)[None])


def images(frames=3):
    g = torch.Generator().manual_seed(1)
    return torch.randn(1, frames, 2, 3, *CONFIG.input_size, generator=g)


def frame_geometry(whole, frame):
    return FrameGeometry(*(tensor[:, frame] for tensor in whole[:4]))


@torch.no_grad()
def test_a_stream_gives_what_the_batch_gives(net):
    """The third frame of a stream knows the same as a batch of three."""
    history, whole, pictures = LangOccHistory(net), geometry(4), images(4)
    for newest in (3, 2, 1, 0):
        scene = history.step(pictures[:, newest], frame_geometry(whole, newest))
    last = SurroundGeometry(*(t[:, :3] for t in whole[:4]), whole.augmentation)
    expected = net(pictures[:, :3], net.plan(last))
    torch.testing.assert_close(scene, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_missing_frames_are_the_current_one(net):
    history, whole, pictures = LangOccHistory(net), geometry(2), images(2)
    first = history.step(pictures[:, 1], frame_geometry(whole, 1))
    alone = SurroundGeometry(*(t[:, [1, 1, 1]] for t in whole[:4]), augmentation=whole.augmentation)
    torch.testing.assert_close(first, net(pictures[:, [1, 1, 1]], net.plan(alone)))
    second = history.step(pictures[:, 0], frame_geometry(whole, 0))
    pair = SurroundGeometry(*(t[:, [0, 1, 0]] for t in whole[:4]), whole.augmentation)
    torch.testing.assert_close(
        second, net(pictures[:, [0, 1, 0]], net.plan(pair)), rtol=1e-4, atol=1e-5
    )
    history.reset()
    again = history.step(pictures[:, 1], frame_geometry(whole, 1))
    torch.testing.assert_close(again, first)


@torch.no_grad()
def test_labels_are_those_of_the_most_similar_prompt(net):
    scene = net(images(), net.plan(geometry()))
    words = Vocabulary("w", ("car", "tree", "road"), (4, 16, 11))
    embeddings = F.normalize(torch.randn(3, 6), dim=-1)
    folded = fold_prompts(net.language_head, embeddings, words.ids())
    predicted = net.predict(scene, folded)
    fields = net.fields(scene)
    best = torch.einsum("bcxyz,nc->bxyzn", fields.vectors, embeddings).argmax(dim=-1)
    expected = torch.where(predicted.density < CONFIG.free_below, 17, words.ids()[best])
    assert torch.equal(predicted.labels.long(), expected)
    torch.testing.assert_close(fields.density[:, 0], predicted.density)
    hidden = net.language_head.hidden(scene.movedim(1, -1))
    scores = similarity(net.language_head, hidden, embeddings)
    assert torch.equal(scores.argmax(dim=-1), best)
    assert (scores.abs() <= 1 + 1e-5).all()


def test_embeddings_of_another_space_are_refused(net):
    with pytest.raises(ConfigError, match="CLIP"):
        fold_prompts(net.language_head, torch.randn(2, 512), torch.tensor([0, 1]))


def test_everything_but_the_reducer_is_trained(net):
    fields = net.fields(net(images(), net.plan(geometry())))
    (fields.density.sum() + fields.vectors.square().cumsum(1).sum()).backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None]
    assert idle == ["reducer.U"]
    net.zero_grad()


def test_broken_calibrations_are_refused(net):
    whole = geometry()
    with pytest.raises(CalibrationError, match="NaN"):
        net.plan(whole._replace(K=whole.K * float("nan")))
    with pytest.raises(CalibrationError, match="singular"):
        net.plan(whole._replace(T_ego_cam=torch.zeros_like(whole.T_ego_cam)))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="multiples of 32"):
        LangOccConfig(input_size=(250, 704))
    with pytest.raises(ConfigError, match="halved"):
        LangOccConfig(shape=(200, 200, 15))


@pytest.mark.parametrize(
    ("config", "count"),
    [(LangOccConfig(), 35_686_783), (LangOccConfig.reduced(), 35_653_631)],
)
def test_the_published_sizes(config, count):
    with torch.device("meta"):
        network = LangOcc(config)
    assert sum(p.numel() for p in network.parameters()) == count


def test_labels_can_be_finer_than_what_is_computed():
    torch.manual_seed(0)
    coarse = LangOcc(dataclasses.replace(CONFIG, coarseness=(2, 2, 1))).eval()
    with torch.no_grad():
        coarse.density_head[-1].bias.fill_(-20.0)  # nothing is anywhere
        scene = torch.rand(1, 8, 8, 8, 4)
        prompts = fold_prompts(coarse.language_head, torch.eye(6)[:2], torch.tensor([4, 16]))
        assert (coarse.predict(scene, prompts).labels == 17).all()
        coarse.density_head[-1].bias.fill_(20.0)
        answer = coarse.predict(scene, prompts)
    assert answer.labels.shape == answer.density.shape == (1, *CONFIG.shape)
    assert set(answer.labels.unique().tolist()) <= {4, 16}
    # A ramp along x, y and z is read at the centres of the labels as rendering reads it.
    config = coarse.config
    axes = [torch.linspace(o, u, n) for o, u, n in zip(
        config.grid.origin_m, config.grid.upper_m, config.volume.shape, strict=True)]  # fmt: skip
    ramp = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
    centres = config.grid.centers().movedim(-1, 0)[None]
    torch.testing.assert_close(coarse.at_labels(ramp), centres, atol=1e-4, rtol=0)


def test_a_coarseness_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="does not divide"):
        dataclasses.replace(CONFIG, coarseness=(3, 1, 1))
