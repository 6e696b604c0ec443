import dataclasses

import pytest
import torch

from occ_perception.core.errors import BagError, ConfigError
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig
from occ_perception.systems.gaussianflowocc.model import GaussianFlowOcc
from occ_training.data.bag_scene import Bags
from occ_training.data.beam_sight import BeamSightSpec
from occ_training.data.surround import SurroundDrives, SurroundSpec
from occ_training.engine.checkpointing import CheckpointFolder
from occ_training.engine.recipe import LoopConfig
from occ_training.engine.trainer import Trainer
from occ_training.labels.bag_images import BagImages
from occ_training.labels.image_labeler import ImageLabeler
from occ_training.labels.toy_layers import ToyLayers
from occ_training.labels.worker import Shard, label
from occ_training.losses.splatting import (
    SplatLossWeights,
    rendered_class_loss,
    rendered_depth_loss,
)
from occ_training.recipes.catalog import find_trainable
from occ_training.recipes.gaussianflowocc import (
    PRESETS,
    GaussianFlowOccPreset,
    GaussianFlowOccTraining,
    build_recipe,
)
from occ_training.recipes.gaussianflowocc_data import SplatDataset, SplatTargets, SplatTopics
from occ_training.recipes.gaussianflowocc_start import FlatStart, draw_places
from occ_training.recipes.gaussianflowocc_step import (
    GaussianFlowOccLosses,
    TrainableGaussianFlowOcc,
    collate,
)
from occ_training.recipes.gaussianflowocc_validation import Validation
from occ_training.recipes.preset import with_steps
from occ_training.recipes.request import Request

CONFIG = dataclasses.replace(
    GaussianFlowOccConfig.nano(), input_size=(32, 96), backbone_widths=(8, 8, 8, 8), channels=16,
    gaussians=150, inducing_points=8, head_channels=16, flow_channels=16, horizon=1,
)  # fmt: skip
TARGETS = SplatTargets(size=(16, 44), neighbours=1, cameras=2)
TRAINING = GaussianFlowOccTraining(
    rate=5e-3, targets=TARGETS, schedule=PRESETS["nano"](None).training.schedule, keeps=True,
    start=FlatStart(keys=2), ema=None,
)  # fmt: skip


@pytest.fixture(scope="module")
def bags(surround_bag, tmp_path_factory):
    """Two key frames with what the stand-ins say about them."""
    layers = tmp_path_factory.mktemp("layers")
    labeler = ImageLabeler(BagImages(surround_bag), ToyLayers())
    assert label(labeler, layers, Shard()).is_complete
    return [Bags(surround_bag, (layers / surround_bag.name,))]


def preset(folder, **changes):
    training = dataclasses.replace(TRAINING, **changes)
    loop = LoopConfig(folder, epochs=1000, batch_size=2, workers=0, device="cpu", clip_norm=5.0)
    return GaussianFlowOccPreset(CONFIG, training, loop)


@pytest.fixture(scope="module")
def batch(bags):
    return collate([SplatDataset(bags, CONFIG, TARGETS, augments=False)[i] for i in range(2)])


def test_a_sample_is_a_chain_of_key_frames_and_labelled_pictures(bags):
    sample = SplatDataset(bags, CONFIG, TARGETS)[1]
    assert sample.images.shape == (2, 6, 3, 32, 96)  # one past key frame and the current one
    assert sample.steps.tolist() == [0, 1]  # the one before, then the current one
    assert sample.classes.shape == sample.depth_m.shape == (2, 2, 16, 44)
    assert {11, 15} <= set(sample.classes.unique().tolist()) <= set(range(17))
    assert 0 < sample.depth_m.max() <= 40
    forward_m = sample.motions[0, 0, 3]  # of the last vehicle frame in this one
    assert -8 < forward_m < -2


def test_labels_lie_where_rendering_cameras_see_them(bags):
    """A point of the depth, carried into another key frame's camera, meets its surface there."""
    full = SplatTargets(size=(64, 176), neighbours=1)
    true = SplatTopics(depth="/ground_truth/{camera}/depth")
    sample = SplatDataset(bags, CONFIG, full, true, augments=False)[1]
    before, now = sample.depth_m
    front = CONFIG.cameras.index("CAM_FRONT")
    v, u = ((before[front] > 4) & (sample.classes[0, front] > 10)).nonzero().T
    K, T = sample.intrinsics[:, front], sample.T_cam_ego[:, front]
    rays = torch.linalg.solve(K[0], torch.stack([u + 0.0, v + 0.0, torch.ones(len(u))]))
    points = T[0].inverse() @ torch.cat([rays * before[front, v, u], torch.ones(1, len(u))])
    seen = K[1] @ (T[1] @ points)[:3]
    x, y = (seen[:2] / seen[2]).round().long()
    inside = (seen[2] > 1) & (x >= 0) & (x < 176) & (y >= 0) & (y < 64)
    there, depth_m = now[front, y[inside], x[inside]], seen[2, inside]
    close = (there - depth_m).abs() < 0.1 * depth_m
    assert inside.sum() > 1000 and close[there > 0].float().mean() > 0.85


def test_both_losses_reach_the_network(batch):
    torch.manual_seed(0)
    network = TrainableGaussianFlowOcc(CONFIG)
    losses = GaussianFlowOccLosses(SplatLossWeights(), CONFIG)(network, batch)
    assert set(losses) == {"semantic", "depth"}
    torch.stack(list(losses.values())).sum().backward()
    heads = (network.semantic_head, network.scale_head, network.rotation_head, network.opacity_head)
    for part in (*heads, network.backbone, network.decoder):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    bare = GaussianFlowOccLosses(SplatLossWeights(depth=0.0), CONFIG)(network, batch)
    assert set(bare) == {"semantic"}


SIGHT = dataclasses.replace(TARGETS, sight=BeamSightSpec(occupied=400, free=600))


def test_voxels_that_beams_tell_of_are_as_the_truth_says(bags):
    sample = SplatDataset(bags, CONFIG, SIGHT, augments=False)[1]
    truth = {"truth": "/ground_truth/voxels"}
    drive = SurroundDrives(bags, SurroundSpec(CONFIG.cameras, layers=truth)).scenes[0]
    below = torch.from_numpy(drive.layer("truth", 1).labels.copy())[..., : CONFIG.roof].flatten()
    kept = sample.sight_voxels[1] >= 0
    assert sample.sight_voxels.shape == (2, 1000) and kept.all()
    labels = below[sample.sight_voxels[1]]
    free = sample.sight_free[1]
    assert (labels[free] == 17).float().mean() > 0.9
    assert (labels[~free] != 17).float().mean() > 0.7
    named = ~free & (sample.sight_classes[1] > 0) & (labels != 17)
    assert (labels[named] == sample.sight_classes[1][named]).float().mean() > 0.8


def test_beams_teach_what_is_where(bags):
    batch = collate([SplatDataset(bags, CONFIG, SIGHT, augments=False)[1]])
    torch.manual_seed(0)
    network = TrainableGaussianFlowOcc(CONFIG)
    weights = SplatLossWeights(semantic=0, depth=0, sight=1, sight_semantic=1)
    losses = GaussianFlowOccLosses(weights, CONFIG)
    terms = losses(network, batch)
    assert set(terms) == {"sight", "sight_semantic"}
    terms["sight"].backward(retain_graph=True)
    assert not network.semantic_head[-1].weight.grad.any()
    assert network.opacity_head[-1].weight.grad.abs().sum() > 0
    terms["sight_semantic"].backward()
    assert network.semantic_head[-1].weight.grad.abs().sum() > 0
    assert network.backbone.conv1.weight.grad.abs().sum() > 0


def test_beams_meet_things_where_they_are_at_that_time(batch, bags):
    """Gaussians that have moved away leave their voxels."""
    batch = collate([SplatDataset(bags, CONFIG, SIGHT, augments=False)[1]])
    losses = GaussianFlowOccLosses(SplatLossWeights(sight=1), CONFIG)
    trained = TrainableGaussianFlowOcc(CONFIG)(batch)
    before, now = trained.means[0]
    away = trained._replace(means=(torch.stack([before + 100, now]),))
    then, still = losses._sight(away, batch)
    assert not then.density.any() and still.density.any()


def test_losses_are_means_over_all_pixels_of_a_batch(batch):
    torch.manual_seed(0)
    network = TrainableGaussianFlowOcc(CONFIG).eval()
    weights = SplatLossWeights(semantic=1.0, depth=1.0)
    with torch.no_grad():
        found = GaussianFlowOccLosses(weights, CONFIG)(network, batch)
        trained = network(batch)
        pictures = torch.stack(
            [GaussianFlowOccLosses._pictures(trained, batch, i) for i in range(2)]
        )
        classes, depth_m = torch.stack(batch.classes), torch.stack(batch.depth_m)
        semantic = rendered_class_loss(pictures[..., :-1], classes)
        depth = rendered_depth_loss(pictures[..., -1], depth_m)
    torch.testing.assert_close(found["semantic"], semantic)
    torch.testing.assert_close(found["depth"], depth)


def test_only_what_can_move_moves_and_only_with_flow(batch):
    torch.manual_seed(0)
    moving = TrainableGaussianFlowOcc(CONFIG).eval()
    still = TrainableGaussianFlowOcc(CONFIG, flow=False).eval()
    still.load_state_dict(moving.state_dict())
    with torch.no_grad():
        trained, frozen = moving(batch), still(batch)
    now, before = trained.means[1][-1], trained.means[1][0]
    ids = trained.scene.gaussians.logits[1].argmax(-1) + 1
    can_move = torch.isin(ids, torch.tensor(CONFIG.dynamic_ids))
    assert 0 < can_move.sum() < len(ids)
    assert torch.equal((before != now).any(-1), can_move)
    assert torch.equal(frozen.means[1][0], frozen.means[1][-1])
    torch.testing.assert_close(frozen.means[1][-1], now)


def test_two_samples_are_learnt_by_heart(bags, tmp_path):
    made = build_recipe(preset(tmp_path, augments=False), bags)
    trainer = Trainer(made, dataclasses.replace(preset(tmp_path).loop, steps=60))
    batch = collate([made.dataset[i] for i in range(2)])
    with torch.no_grad():
        first = made.losses(trainer.network, batch)
    trainer.fit()
    with torch.no_grad():
        last = made.losses(trainer.network, batch)
    assert last["semantic"] < 0.5 * first["semantic"]
    assert last["depth"] < 0.5 * first["depth"]


def test_resumed_equals_uninterrupted(bags, tmp_path):
    for name, parts in (("whole", [3]), ("parts", [1, 3])):
        for steps in parts:
            loop = dataclasses.replace(
                preset(tmp_path / name).loop, steps=steps, batch_size=1, checkpoint_every=1
            )
            trainer = Trainer(build_recipe(preset(tmp_path / name), bags), loop)
            trainer.resume()
            trainer.fit()
    whole, parts = (CheckpointFolder(tmp_path / name).newest().model for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_start_puts_gaussians_on_surfaces_one_per_place(bags):
    network = build_recipe(preset(None), bags).network
    means, fresh = network.initial_means, TrainableGaussianFlowOcc(CONFIG).initial_means
    assert len((means / 0.8).floor().unique(dim=0)) > 140
    near_ground = [((m[:, 2] > -0.6) & (m[:, 2] < 0.6)).float().mean() for m in (means, fresh)]
    assert near_ground[0] > near_ground[1] + 0.1
    assert not network.flow(torch.randn(1, 3, CONFIG.channels), torch.tensor([0, 1])).any()
    with pytest.raises(ConfigError, match="give 1 places for 150 Gaussians"):
        draw_places([torch.zeros(1, 3).double().numpy()], CONFIG, 0.8, None)


def test_scores_are_those_of_occ3d_over_the_drive(bags):
    torch.manual_seed(0)
    validate = Validation(CONFIG, SplatTopics(), bags)
    scores = validate(TrainableGaussianFlowOcc(CONFIG))
    assert set(scores) == {"iou", "miou"} and 0 <= scores["iou"] < 0.5
    nothing = validate.scores(GaussianFlowOcc(CONFIG), [1.1])[0]
    assert nothing.iou == 0 and nothing.iou_free > 50


def test_layers_are_checked_before_a_training(bags, surround_bag, tmp_path):
    build = find_trainable("gaussianflowocc").build
    missing = Request([Bags(surround_bag, (tmp_path / surround_bag.name,))])
    with pytest.raises(BagError, match="does not exist: run `occ label`"):
        build(preset(tmp_path), missing)
    (tmp_path / ".parts" / f"{surround_bag.name}-0" / "part_00000").mkdir(parents=True)
    with pytest.raises(BagError, match="is incomplete: run `occ label`"):
        build(preset(tmp_path), missing)
    with pytest.raises(BagError, match="have the label layer /labels"):
        build(preset(tmp_path), Request([Bags(surround_bag)]))
    with pytest.raises(ConfigError, match="leave out --teacher toy"):
        build(preset(tmp_path), Request(bags, teacher="toy"))


def test_layers_of_something_else_are_refused(bags, surround_bag):
    street = SplatTopics(classes="/ground_truth/{camera}/semantic/compressed")
    with pytest.raises(BagError, match="in the label layer, the network has 16"):
        SplatDataset(bags, CONFIG, TARGETS, street)[0]
    tall = SplatTargets(size=(64, 44), neighbours=1)
    with pytest.raises(ConfigError, match="cannot be cut out of labels"):
        SplatDataset(bags, CONFIG, tall)[0]


def test_beams_need_points(bags):
    with pytest.raises(ConfigError, match="need LiDAR points: name their topic"):
        SplatDataset(bags, CONFIG, SIGHT, SplatTopics(points=""))
    with pytest.raises(ConfigError, match="flat start needs LiDAR points"):
        build_recipe(preset(None, topics=SplatTopics(points="")), bags)


def test_presets_are_the_published_numbers(tmp_path):
    last, august = (PRESETS[name](tmp_path) for name in ("published", "august2025"))
    training = last.training
    assert (training.rate, training.weight_decay, training.ema.start) == (1e-4, 0.01, 10560)
    assert (training.losses.semantic, training.losses.depth) == (2.0, 0.05)
    assert training.targets == SplatTargets((256, 704), 6, 0, 40.0) and training.start is None
    assert training.targets.sight is None
    assert training.losses.sight == training.losses.sight_semantic == 0
    assert (last.loop.epochs, last.loop.batch_size, last.loop.clip_norm) == (18, 4, 5.0)
    assert (august.training.losses.semantic, august.training.losses.depth) == (1.0, 0.1)
    assert (last.network.reach, august.network.reach) == (4, 3)


def test_another_length_stretches_the_cosine(tmp_path):
    short = with_steps(PRESETS["nano"](tmp_path), 50)
    assert short.loop.steps == short.training.schedule.steps == 50
