"""ViPOcc's and BTS's recipe: samples out of bags, the published terms, training that resumes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from occ_perception.core.errors import BagError, ConfigError
from occ_perception.systems.vipocc.checkpoint import ViPOccCheckpoint
from occ_perception.systems.vipocc.config import ViPOccConfig
from occ_perception.systems.vipocc.model import ViPOcc
from occ_perception.systems.vipocc.system import ViPOccSystem
from occ_perception.weights.load import load_weights
from occ_perception.weights.shipped import shipped_weights
from occ_training.data.bag_scene import Bags, BagScene, SampleSpec
from occ_training.data.field_views import STEREO, SampleViews, ViewTimes
from occ_training.data.posed_pictures import PictureDrives, PictureSpec
from occ_training.engine.checkpointing import CheckpointFolder
from occ_training.engine.recipe import LoopConfig
from occ_training.engine.trainer import Trainer
from occ_training.recipes.catalog import find_trainable
from occ_training.recipes.export import export_weights
from occ_training.recipes.field_threshold import best_density
from occ_training.recipes.field_validation import Validation
from occ_training.recipes.preset import with_steps
from occ_training.recipes.request import Request
from occ_training.recipes.vipocc import build_recipe
from occ_training.recipes.vipocc_data import Extras, FieldDataset, LayerDepth, collate
from occ_training.recipes.vipocc_presets import PRESETS, FieldTopics, FrameSplit
from occ_training.recipes.vipocc_request import build_requested, make_dataset
from occ_training.recipes.vipocc_step import LossWeights, train_step

SIZE = (64, 160)


def tiny(output=Path("run"), preset="nano", **training):
    """A preset at a size that trains in seconds; its patches and losses are the preset's own."""
    chosen = PRESETS[preset](output)
    nano = PRESETS["nano"](output)
    network = dataclasses.replace(
        ViPOccConfig.nano(), input_size=SIZE, samples=8, depth_branch=chosen.network.depth_branch
    )
    changes = {"patches": 8, "depth_patches": 4} | training
    loop = dataclasses.replace(
        nano.loop, workers=0, device="cpu", log_every=1, batch_size=1, checkpoint_every=0
    )
    training = dataclasses.replace(chosen.training, **changes)
    return dataclasses.replace(chosen, network=network, training=training, loop=loop)


@pytest.fixture
def request_of(field_bag):
    return lambda teacher="toy", **more: Request([Bags(field_bag)], teacher=teacher, **more)


def test_a_sample_is_eight_views_with_depth_and_no_hole(field_bag, request_of):
    dataset = make_dataset(tiny(jitters_colours=False), request_of())
    assert len(dataset) == 4  # two frames have a next one, each with two inputs
    left, right = dataset[0], dataset[1]
    assert left.views.images.shape == (1, 8, 3, *SIZE)
    # What is the input of one is the other camera's view of the other.
    torch.testing.assert_close(left.views.images[:, [0, 1]], right.views.images[:, [2, 3]])
    baseline = left.views.T_world_cam[0, 2, :3, 3] - left.views.T_world_cam[0, 0, :3, 3]
    assert float(baseline.norm()) == pytest.approx(0.594, abs=0.01)
    depth = left.views.pseudo_depth_m
    assert depth.shape == (1, 2, 1, *SIZE) and (depth > 0).all() and depth.max() > 79  # the sky
    torch.testing.assert_close(depth, dataset[0].views.pseudo_depth_m)  # a teacher does not waver


def test_the_stand_in_is_near_the_lidar(request_of):
    weights = dataclasses.replace(tiny().training.weights, supervised=1.0)
    views = make_dataset(tiny(weights=weights), request_of())[0].views
    hit = views.lidar_depth_m > 0
    assert hit.sum() > 200
    ratio = views.pseudo_depth_m[hit] / views.lidar_depth_m[hit]
    assert (abs(ratio.median() - 1)) < 0.1
    with pytest.raises(ConfigError, match=r"give training\.topics\.lidar"):
        make_dataset(tiny(weights=weights, topics=FieldTopics(lidar="")), request_of())


def test_lines_of_sight_agree_with_the_voxel_truth(field_bag, request_of):
    weights = LossWeights(sight=1.0)
    sample = make_dataset(tiny(weights=weights), request_of())[0]
    points, occupied, known = (part[0] for part in sample.sight)
    scene = BagScene(Bags(field_bag), SampleSpec(labels={"voxels": "/ground_truth/voxels"}))
    truth = scene.label("voxels", 0)
    camera = cameras_in(field_bag)["/perspective/left"]
    T_grid_cam = np.linalg.inv(truth.T_base_grid) @ camera
    in_grid = points[known].numpy() @ T_grid_cam[:3, :3].T + T_grid_cam[:3, 3]
    index, inside = truth.grid.index_of(in_grid)
    labels = truth.labels[tuple(index[inside].T)]
    is_occupied = occupied[known].numpy()[inside]
    assert is_occupied.sum() > 300 and (~is_occupied).sum() > 300
    judged = labels != 255
    # The sweeps of this sample are some of those that the truth was made of; a few movers differ.
    assert (labels[judged & is_occupied] > 0).mean() > 0.9
    assert (labels[judged & ~is_occupied] == 0).mean() > 0.9


def cameras_in(bag):
    spec = PictureSpec(STEREO, SIZE)
    scene = PictureDrives([Bags(bag)], spec).scenes[0]
    return {f: c.T_base_cam for f, (c, _) in zip(STEREO, scene.rig(0), strict=True)}


@pytest.mark.parametrize("preset", ["published", "bts"])
def test_the_terms_are_those_of_the_proven_step(preset, request_of):
    made = build_requested(tiny(preset=preset), request_of())
    batch = made.collate([made.dataset[0], made.dataset[3]])
    torch.manual_seed(3)
    terms = made.losses(made.network.train(), batch)
    torch.manual_seed(3)
    draws = made.losses.draw(batch)
    step = train_step(made.network, batch.views, draws, PRESETS[preset](Path("x")).training.weights)
    expected = {"published": {"rgb", "recon", "temporal"}, "bts": {"rgb", "smoothness"}}[preset]
    assert set(terms) == expected
    torch.testing.assert_close(sum(terms.values()), step.total)


def test_kitti_raw_has_stereo_alone(request_of):
    preset = tiny(preset="kitti_raw", topics=FieldTopics(fisheyes=()))
    made = build_requested(preset, request_of())
    batch = made.collate([made.dataset[0]])
    assert batch.views.images.shape[1] == 4
    partition = made.losses.draw(batch).colour.partition
    assert sorted([*partition.loss, *partition.render]) == [0, 1, 2, 3]
    assert made.losses(made.network, batch)["rgb"].isfinite()


def test_colours_change_alike_in_all_views(request_of):
    plain, changed = (
        make_dataset(tiny(preset="bts", jitters_colours=on), request_of())[0].views.images
        for on in (False, True)
    )
    factors = [(c + 1).mean() / (p + 1).mean() for p, c in zip(plain[0], changed[0], strict=True)]
    assert abs(factors[0] - 1) > 0.01
    assert np.ptp([float(f) for f in factors[:4]]) < 0.05


def test_snog_puts_patches_on_objects_and_on_fisheyes(request_of):
    made = build_requested(tiny(sampler="snog", patches=16), request_of())
    batch = made.collate([made.dataset[0]])
    patches = made.losses.draw(batch).colour.patches
    assert (patches.view[0].bincount(minlength=4)[:2] == 4).all() and len(patches.view[0]) == 16
    bare = batch._replace(anchors=None)
    with pytest.raises(ConfigError, match="sample at random"):
        made.losses.draw(bare)


def test_missing_or_wrong_pseudo_depth_is_refused(field_bag, request_of):
    with pytest.raises(BagError, match="have the label layer /labels/perspective/left/depth"):
        make_dataset(tiny(), request_of(teacher=""))
    with pytest.raises(ConfigError, match="no teacher 'midas'"):
        make_dataset(tiny(), request_of(teacher="midas"))
    fisheye = {f"pseudo {folder}": "/ground_truth/fisheye/left/depth" for folder in STEREO}
    drives = PictureDrives([Bags(field_bag)], PictureSpec(STEREO, SIZE), fisheye)
    extras = Extras(LayerDepth(STEREO))
    dataset = FieldDataset(SampleViews(drives, ViewTimes((1.0, 1.0))), extras)
    with pytest.raises(BagError, match="is 175x175, the images are 160x48: label the drive again"):
        dataset[0]


def test_a_single_frame_makes_no_sample(field_bag, request_of, tmp_path):
    name = field_bag.name
    (tmp_path / "train.txt").write_text(f"{name} 0000000001 l\n")
    listed = tiny(split=FrameSplit(str(tmp_path / "train.txt")))
    assert len(build_requested(listed, request_of()).dataset) == 2
    (tmp_path / "train.txt").write_text(f"{name} 2 l\n")  # the last frame has no next one
    with pytest.raises(BagError, match="has a next one with all cameras and a pose and is listed"):
        build_requested(listed, request_of())


def test_a_list_with_test_frames_is_flagged_up_to_the_weights(field_bag, request_of, tmp_path):
    train, test = tmp_path / "train_files.txt", tmp_path / "test_files.txt"
    train.write_text(f"day/{field_bag.name} 0000000000 l\nday/{field_bag.name} 1 r\n")
    test.write_text(f"{field_bag.name} 1 l\n")
    preset = tiny(preset="bts", split=FrameSplit(str(train), str(test)))
    made = build_requested(preset, request_of())
    assert made.config["warning"].startswith("LEAKED: 1 of 1 test frames")
    trainer = Trainer(made, dataclasses.replace(preset.loop, output=tmp_path / "run", steps=1))
    trainer.fit()
    about = ViPOccCheckpoint(preset.network)
    weights = export_weights(trainer.folder, about, tmp_path / "w.safetensors")
    exported = ViPOcc(preset.network)
    assert "LEAKED" in load_weights(exported, weights, "vipocc").source
    going_on = dataclasses.replace(preset.training, start=str(weights), split=FrameSplit())
    again = build_requested(dataclasses.replace(preset, training=going_on), request_of())
    state = again.network.state_dict()
    assert all(torch.equal(p, state[name]) for name, p in exported.named_parameters())
    train.write_text("one two three four\n")
    with pytest.raises(ConfigError, match="line 1: 'one two three four' is no frame"):
        build_requested(preset, request_of())


class Repeated(torch.utils.data.Dataset):
    """A few samples, many times over."""

    def __init__(self, samples, times):
        self.samples = list(samples) * times

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def test_two_samples_are_learnt_by_heart(request_of, tmp_path):
    preset = tiny(patches=8, jitters_colours=False, rate=2e-3, picture_share=1.0)
    preset = with_steps(preset, 40)
    dataset = make_dataset(preset, request_of())
    made = build_recipe(preset, Repeated([dataset[0], dataset[2]], 40))
    loop = LoopConfig(tmp_path, epochs=99, steps=40, batch_size=2, workers=0, device="cpu",
                      clip_norm=1.0)  # fmt: skip
    batch = collate([dataset[0], dataset[2]])

    def error():
        torch.manual_seed(5)
        return {k: float(v.detach()) for k, v in made.losses(made.network, batch).items()}

    before = error()
    trainer = Trainer(made, loop)
    trainer.fit()
    after = error()
    assert after["sight"] < 0.85 * before["sight"] and after["recon"] < 0.8 * before["recon"]


def test_resumed_equals_uninterrupted(request_of, tmp_path):
    for name, parts in (("whole", [3]), ("parts", [1, 3])):
        for steps in parts:
            preset = tiny(patches=4)
            made = build_requested(preset, request_of())
            loop = dataclasses.replace(preset.loop, output=tmp_path / name, steps=steps)
            trainer = Trainer(made, loop)
            trainer.resume()
            trainer.fit()
    whole, parts = (CheckpointFolder(tmp_path / name).newest().model for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_scores_come_from_the_system_that_runs_later(field_bag):
    config = dataclasses.replace(ViPOccConfig.nano(), input_size=SIZE, samples=8)
    scores = Validation(ViPOccSystem(config), [field_bag])(find_network(config))
    assert 0 <= scores["iou"] <= 1 and scores["iou"] == scores["iou 51.2 m"]


def test_the_threshold_is_the_best_one(field_bag):
    config = dataclasses.replace(ViPOccConfig.nano(), input_size=SIZE, samples=8)
    system = ViPOccSystem(config)
    system.network.load_state_dict(find_network(config).state_dict())
    chosen = best_density(system, [field_bag], frames=1)
    at = chosen["occupied_density"]

    def mean_iou(density):
        tried = ViPOccSystem(dataclasses.replace(config, occupied_density=density))
        scores = Validation(tried, [field_bag], frames=1)(system.network)
        return np.mean([scores[name] for name in ("iou 12.8 m", "iou 25.6 m", "iou 51.2 m")])

    ranges = [value for name, value in chosen.items() if name.startswith("iou ")]
    assert len(ranges) == 3 and mean_iou(at) == pytest.approx(np.mean(ranges), abs=2e-3)
    assert mean_iou(at) >= max(mean_iou(at / 2), mean_iou(at * 2)) - 2e-3


def find_network(config):
    torch.manual_seed(0)
    return ViPOcc(config)


def test_the_catalogue_knows_every_preset(tmp_path):
    trainable = find_trainable("vipocc")
    assert {"published", "bts", "kitti_raw", "nano"} <= set(trainable.presets)
    for make in trainable.presets.values():
        preset = make(tmp_path)
        assert trainable.checkpoint(preset.network).system == "vipocc"


def test_the_shipped_weights_are_of_the_nano_preset():
    config = ViPOccConfig.nano()
    info = load_weights(ViPOcc(config), shipped_weights("vipocc", "nano"), "vipocc")
    assert info.config["occupied_density"] == config.occupied_density
    assert info.config["input_size"] == list(config.input_size)
