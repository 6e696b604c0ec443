"""World tests 8 and 10, classes, teachers, splits."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from occ_perception.core.errors import ConfigError
from occ_perception.core.labels import load_label_map
from occ_training.world.classes import Class, lookup, palette, priority
from occ_training.world.config import (
    BUSY_RANGES,
    HELD_RANGES,
    RIGS,
    SPLITS,
    TRAIN_RANGES,
    WORLD_VERSION,
    WorldConfig,
    held_configs,
    stream,
)
from occ_training.world.floors import floors, score
from occ_training.world.frames import Parts, has_voxels, make_frame, make_frames
from occ_training.world.lidar import sweep_lidar
from occ_training.world.manifest import digest, manifest, primitives_json
from occ_training.world.retrieval import queries, visible_points
from occ_training.world.scene import EGO_BODY, build_scene
from occ_training.world.sensed import Mapper, Mapping
from occ_training.world.teachers import (
    UNLABELLED,
    class_embeddings,
    patch_features,
    pseudo_classes,
    pseudo_depth,
    text_embedding,
    text_image_features,
)

LOG = logging.getLogger(__name__)
ONE = Parts(cameras=("image_2",))


def test_ids_and_colours_are_those_of_the_shipped_label_maps():
    colours = palette()
    # Several internal classes share an id of the data set; it keeps one colour.
    shared = (
        Class.BUS, Class.CONSTRUCTION_VEHICLE, Class.TRAILER,
        Class.TRAFFIC_LIGHT, Class.BARRIER, Class.CONE,
    )  # fmt: skip
    for name, dataset in (("semantickitti", "semantickitti"), ("sscbench_kitti360", "sscbench")):
        label_map, table = load_label_map(name), lookup(dataset)
        for class_id in range(1, Class.EGO):
            out = int(table[class_id])
            if out == 255 or class_id in shared:
                continue
            assert label_map.palette()[out].tolist() == colours[class_id].tolist()
    assert lookup("semantickitti_moving")[Class.TRUCK] == 258
    assert lookup("occ3d")[Class.FREE] == 17
    assert lookup("sscbench")[Class.TRUNK] == 255


def test_small_things_win_ties():
    rank = priority()
    assert rank[Class.PERSON] > rank[Class.CAR] > rank[Class.POLE] > rank[Class.VEGETATION]
    assert rank[Class.VEGETATION] > rank[Class.ROAD] > rank[Class.FREE] == 0


def test_same_seed_same_world_and_number_of_processes_does_not_matter():
    config = WorldConfig("kitti", "tiny", 7, frames=1)
    one = manifest(config, make_frames(config, ONE))
    again = manifest(config, make_frames(config, ONE, jobs=2))
    assert one == again
    assert one["world_version"] == WORLD_VERSION
    assert len(one["frames"][0]) > 10


def test_other_seed_other_street():
    a, b = (build_scene(WorldConfig(seed=seed)) for seed in (1000, 1001))
    assert primitives_json(a) != primitives_json(b)
    assert a.ground != b.ground
    assert not np.array_equal(a.looks.noise, b.looks.noise)
    again = build_scene(WorldConfig(seed=1000))
    assert primitives_json(a) == primitives_json(again)
    assert json.loads(primitives_json(a))["world_version"] == WORLD_VERSION


def test_digest_sees_type_shape_and_values():
    a = np.arange(6, dtype=np.int32)
    others = (a.astype(np.int64), a.reshape(2, 3), a + 1)
    assert all(digest(a) != digest(other) for other in others)
    assert digest(a) == digest(a.copy())


def test_purposes_do_not_share_random_numbers():
    assert stream(7, "layout").random() != stream(7, "texture").random()
    assert stream(7, "layout").random() == stream(7, "layout").random()


def test_splits_share_no_seed_and_the_held_set_lies_outside_the_training_ranges():
    seeds = [seed for split in SPLITS.values() for seed in split]
    assert len(seeds) == len(set(seeds))
    for name in ("lane_width_m", "sidewalk_m", "setback_m", "light", "rig_lift_m"):
        (low, high), (held_low, held_high) = (getattr(r, name) for r in (TRAIN_RANGES, HELD_RANGES))
        assert held_low > high or held_high < low
    base = WorldConfig("kitti", "tiny")
    held = held_configs([990_001], base)[0]
    day, night = build_scene(WorldConfig(seed=1000)), build_scene(held)
    assert night.looks.light < 0.5 * day.looks.light
    assert night.ground.strips[0].lane_m > day.ground.strips[0].lane_m
    height = lambda s: s.rig.camera("image_2").T_base_cam[2, 3]  # noqa: E731
    assert height(night) > height(day) + 0.1
    with pytest.raises(ConfigError, match="published split"):
        held_configs([1003], base)


def test_on_a_busy_street_more_drives_and_the_same_stands():
    usual = WorldConfig("nuscenes", "tiny", seed=41_000, movers=True)
    calm, busy = (build_scene(replace(usual, ranges=r)) for r in (TRAIN_RANGES, BUSY_RANGES))
    cars = [[i for i in s.instances if i["class_id"] == Class.CAR] for s in (calm, busy)]
    driven = [[i for i in named if i["body"] > EGO_BODY] for named in cars]
    assert len(driven[1]) >= len(driven[0]) + 4
    parked = [len(named) - len(moving) for named, moving in zip(cars, driven, strict=True)]
    assert parked[0] == parked[1]


def test_impossible_worlds_are_refused():
    for change in ({"rig": "lunar"}, {"preset": "huge"}, {"frames": 0}, {"seed": -1}):
        with pytest.raises(ConfigError):
            WorldConfig(**change)


def test_streets_are_furnished_as_densely_as_asked():
    counts = []
    for seed in range(1000, 1012):
        scene = build_scene(WorldConfig("kitti", "tiny", seed))
        prims = scene.snapshot(0.0, scene.pose(0.0)[:3, 3], 60.0)
        counts.append(len(prims))
        boxes = np.linalg.norm(prims.center[:, :2] - scene.pose(0.0)[:2, 3], axis=1)
        assert boxes.min() > 0.5
    assert 250 < np.median(counts) < 680


def test_the_ego_car_drives_through_nothing():
    for seed in range(1000, 1016):
        scene = build_scene(WorldConfig("kitti", "tiny", seed, frames=60, movers=True))
        for t in np.arange(0.0, 6.0, 0.25):
            T = scene.pose(t)
            prims = scene.snapshot(t, T[:3, 3], 6.0)
            corners = np.array([[x, y, z, 1.0] for x in (-1.9, 0.0, 1.9) for y in (-0.7, 0.7)
                                for z in (0.5, 1.2)])  # fmt: skip
            for corner in corners @ T[:3].T:
                q = np.einsum("pji,pj->pi", prims.rotation, corner - prims.center)
                assert not (np.abs(q) < prims.half).all(1).any(), (seed, t)


def test_weaving_changes_the_sign_of_the_lateral_speed_every_frame():
    scene = build_scene(WorldConfig(seed=1000, weave_m=0.1))
    t = np.arange(0.0, 1.0, 0.1) + 0.02
    line = scene.bodies.moves[0].line
    poses = scene.pose(np.stack((t, t + 0.01)))
    d = line.lateral(poses[..., 0, 3], poses[..., 1, 3])
    sign = np.sign(d[1] - d[0])
    assert (sign[1:] == -sign[:-1]).all()


def test_nuscenes_poses_are_written_without_height(nuscenes):
    true, written = nuscenes.pose(0.7), nuscenes.recorded_pose(0.7)
    assert written[2, 3] == 0.0 != true[2, 3]
    assert np.array_equal(true[:3, :3], written[:3, :3])
    assert np.array_equal(nuscenes.recorded_pose(0.7, flatten=False), true)


def test_cameras_of_a_frame_expose_at_their_own_times(nuscenes):
    frame = make_frame(nuscenes, Mapper(nuscenes), 1, Parts(colour=False, voxels=False))
    times = {name: p.time_s for name, p in frame.pictures.items()}
    assert times["CAM_FRONT_LEFT"] == pytest.approx(0.5 - 0.0431)
    assert len({p.T_world_cam.tobytes() for p in frame.pictures.values()}) == 6
    assert frame.stamp_ns == 1_893_456_000_500_000_000
    assert has_voxels(nuscenes, 1)


def test_teachers_are_wrong_in_measured_ways(kitti, kitti_frames):
    picture = kitti_frames[0].pictures["image_2"]
    depth = pseudo_depth(kitti, picture)
    assert not depth[picture.class_id == Class.SKY].any()
    both = (depth > 0) & np.isfinite(picture.depth_m)
    correlation = np.corrcoef(depth[both], picture.depth_m[both])[0, 1]
    assert 0.85 < correlation < 0.999
    ratio = depth[both] / picture.depth_m[both]
    assert 0.03 < ratio.std() < 0.5
    guess = pseudo_classes(kitti, picture)
    assert 0.7 < (guess == picture.class_id).mean() < 0.97
    assert set(np.unique(guess)) <= {*range(29), UNLABELLED}
    assert np.array_equal(guess, pseudo_classes(kitti, picture))


def test_toy_text_finds_its_class(kitti, kitti_frames):
    picture = kitti_frames[0].pictures["image_2"]
    features = text_image_features(kitti, picture, 512, patch=8)
    rows, columns, _ = features.shape
    blocks = picture.class_id[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8)
    for word, class_id in (("road", Class.ROAD), ("house", Class.BUILDING)):
        share = (blocks == class_id).mean((1, 3))
        likeness = features @ text_embedding(word)
        assert likeness[share > 0.9].mean() > likeness[share < 0.1].mean() + 0.3
    assert np.allclose(np.linalg.norm(features, axis=-1), 1.0, atol=1e-5)
    products = class_embeddings(512) @ class_embeddings(512).T
    assert np.abs(products - np.eye(len(products))).max() < 0.25


def test_patch_features_hold_a_fixed_artefact(kitti, kitti_frames):
    a, b = (patch_features(kitti, f.pictures["image_2"]) for f in kitti_frames)
    height, width = kitti_frames[0].pictures["image_2"].class_id.shape
    assert a.shape == (height // 8, width // 8, 384)
    assert np.isfinite(a).all()
    assert not np.array_equal(a, b)


def test_retrieval_queries_are_answered_from_instances(kitti):
    sweep = sweep_lidar(kitti, kitti.rig.lidar, 0.0)
    found = queries(kitti, sweep)
    assert 10 <= len(found) <= 30
    colours = {row["id"]: row["color"] for row in kitti.instances}
    for query in found:
        assert query.hit.any()
        assert not query.hit.all()
        if query.text.endswith(" car"):
            ids = np.unique(sweep.instance_id[query.hit])
            assert {colours[i] for i in ids} == {query.text.split()[0]}


def test_visible_points_lie_in_the_pictures(kitti, kitti_frames):
    sweep, picture = kitti_frames[0].sweep, kitti_frames[0].pictures["image_2"]
    rows = visible_points(sweep, [picture])
    assert 0.05 < len(rows) / len(sweep.world) < 0.4


def test_floors_are_printed_and_depth_alone_does_not_solve_it(kitti, kitti_frames):
    training = []
    for seed in (1000, 1001):
        scene = build_scene(WorldConfig("kitti", "tiny", seed))
        sweep = sweep_lidar(scene, scene.rig.lidar, 0.0)
        training.append(Mapper(scene).truth(0.0, sweep).labels)
    table = floors(kitti, kitti_frames[:1], training)
    for floor in table:
        LOG.info("procedural world, floor '%s': IoU %.3f, mIoU %.3f", floor.name, floor.iou,
                 floor.miou)  # fmt: skip
    assert table[0].iou == 0.0
    assert all(0.0 < floor.iou < 0.6 for floor in table[1:])


def test_a_grid_without_knowledge_has_no_score():
    unknown = np.full((4, 4, 4), 255, dtype=np.uint8)
    assert np.isnan(score("x", [np.zeros_like(unknown)], [unknown]).iou)


@pytest.mark.parametrize("rig", RIGS)
def test_every_rig_makes_whole_frames(rig):
    scene = build_scene(WorldConfig(rig, "tiny", 1002))
    frame = make_frame(scene, Mapper(scene, Mapping(20.0, 20.0, 200)), 0, Parts(colour=False))
    assert list(frame.pictures) == [camera.name for camera in scene.rig.cameras]
    for picture in frame.pictures.values():
        assert picture.rgb is None
        assert picture.surface.mean() > 0.15
        assert (picture.distance_m[picture.surface] > 0.05).all()
    assert (frame.sweep is None) == (scene.rig.lidar is None)
    assert (frame.voxels.exact.labels > 0).mean() > 0.05
    assert 0.02 < frame.voxels.camera_mask.mean() < 0.7
    assert (frame.voxels.sensed is None) == (frame.sweep is None)
