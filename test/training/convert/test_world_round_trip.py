"""The world written as a real tree and converted, against the world written as a bag directly."""

from datetime import UTC, datetime

import numpy as np
import pytest
from training.convert.conversions import Opened, convert_all, stamp_of

from occ_perception.bags.reader import BagReader
from occ_perception.bags.stereo import find_stereo
from occ_perception.core.errors import ConfigError
from occ_perception.geometry.transforms import inverse
from occ_perception.viz.bag_pictures import project_points
from occ_training.convert import kitti, kitti360, kitti_raw, nuscenes_tables
from occ_training.convert.content import Options
from occ_training.convert.runner import convert_scene
from occ_training.convert.world_bag import WorldScene
from occ_training.convert.world_trees import write_tree
from occ_training.data.bag_dataset import BagDataset
from occ_training.data.bag_scene import SampleSpec
from occ_training.world.config import WorldConfig
from occ_training.world.frames import make_frames
from occ_training.world.scene import build_scene

EPOCH_NS = int(datetime(2030, 1, 1, tzinfo=UTC).timestamp()) * 10**9


def scenes_at(layout, source):
    if layout == "semantickitti":
        return kitti.find_sequences(source, semantic=True, epoch_ns=EPOCH_NS)
    if layout == "kitti-raw":
        return kitti_raw.find_drives(source)
    if layout == "kitti360":
        return kitti360.find_drives(source)
    if layout == "sscbench":
        return kitti360.find_drives(source, match_list=kitti360.find_match_list(source))
    return nuscenes_tables.find_scenes(source, occ3d=source)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """Directly written bags and frames by rig, computed when they are asked for."""
    made, folder = {}, tmp_path_factory.mktemp("worlds")

    def world(rig):
        if rig not in made:
            config = WorldConfig(rig=rig, frames=2, movers=True)
            frames = tuple(make_frames(config))
            scene = WorldScene(config, frames=frames)
            report = convert_scene(scene, folder, Options())
            assert report.problems == []
            made[rig] = (build_scene(config), frames, Opened(folder / scene.name))
        return made[rig]

    return world


LAYOUTS = {
    "semantickitti": "kitti",
    "kitti-raw": "kitti",
    "kitti360": "kitti360",
    "sscbench": "kitti360",
    "nuscenes": "nuscenes",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_ways_give_the_same(worlds, tmp_path, layout):
    scene, frames, direct = worlds(LAYOUTS[layout])
    source = write_tree(
        layout, scene, frames, tmp_path / "tree", 9000 if layout != "semantickitti" else 30
    )
    (report,) = convert_all(scenes_at(layout, source), tmp_path / "out").values()
    assert report.problems == []
    converted = Opened(tmp_path / "out" / report.scene)
    check_samples(direct, converted, world_frame="map" if layout != "kitti-raw" else None)
    common = set(direct.index.topics) & set(converted.index.topics)
    own = {"/imu/data", "/gps/fix"}  # the world's bag has no such measurements
    assert set(converted.index.topics) - common <= own
    if layout != "kitti-raw":  # its origin is a place on the globe
        check_poses(direct, converted)
    for topic in common - {"/tf", "/tf_static", "/ground_truth/pose"}:
        pairs = zip(direct.messages(topic), converted.messages(topic), strict=True)
        for ours, theirs in pairs:
            check_message(topic, ours, theirs, layout)


def check_samples(direct, converted, world_frame):
    """What training reads: to the bit, but for numbers that the layouts have as rounded text."""
    topics = direct.index.topics.keys() & converted.index.topics.keys()
    cameras = tuple(sorted(t for t in topics if "/image_" in t and "fisheye" not in t))
    voxels = {"voxels": "/ground_truth/voxels"} if "/ground_truth/voxels" in topics else {}
    spec = SampleSpec(cameras=cameras, labels=voxels, world_frame=world_frame)
    ours, theirs = (BagDataset([bag.index.path], spec) for bag in (direct, converted))
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        assert a.stamp_ns == b.stamp_ns
        for x, y in zip(a.views, b.views, strict=True):
            assert np.array_equal(x.frame.image, y.frame.image)
            np.testing.assert_allclose(x.frame.camera.P, y.frame.camera.P, atol=1e-9)
            if world_frame:
                np.testing.assert_allclose(x.T_world_cam, y.T_world_cam, atol=2e-6)
        for name in voxels:
            x, y = a.labels[name], b.labels[name]
            assert x.grid == y.grid
            assert np.array_equal(x.labels, y.labels) and np.array_equal(x.known, y.known)


def check_message(topic, ours, theirs, layout):
    if hasattr(ours, "header"):
        assert stamp_of(ours) == stamp_of(theirs), topic
        assert ours.header.frame_id == theirs.header.frame_id, topic
    if topic.endswith("camera_info"):
        for name in "dkrp":
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-9)
    elif topic == "/ground_truth/boxes":
        for a, b in zip(ours.markers, theirs.markers, strict=True):
            assert (a.ns, a.scale) == (b.ns, b.scale)
            assert a.pose.position.x == pytest.approx(b.pose.position.x, abs=1e-9)
    elif topic == "/velodyne/points" and layout == "kitti-raw":
        assert theirs.width == ours.width  # odometry's sweeps are corrected, raw ones are not
    else:
        for name in ("data", "labels", "known", "format", "label_map"):
            if hasattr(ours, name):
                a, b = getattr(ours, name), getattr(theirs, name)
                assert np.array_equal(a, b), f"{topic}: {name}"


def check_poses(direct, converted):
    """Places of all sensors on the base, and of the base in the world, at its stamps."""
    sensors = direct.transforms.frames() & converted.transforms.frames()
    assert {"map", "odom", "base_link"} < sensors
    for frame in sorted(sensors - {"map", "odom"}):
        ours, theirs = (b.transforms.fixed("base_link", frame) for b in (direct, converted))
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
    stamps = converted.stamps("/tf")
    assert stamps == direct.stamps("/tf")
    for stamp in stamps:
        ours, theirs = (b.transforms.at("map", "base_link", stamp, 0) for b in (direct, converted))
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_truth_lies_under_the_sweep(worlds):
    """Points of the sweep, taken through the bag's own frames, fall into occupied voxels."""
    _, _, direct = worlds("kitti")
    spec = SampleSpec(
        cameras=("/camera_color/left/image_rect/compressed",),
        labels={"voxels": "/ground_truth/voxels", "lidar": "/velodyne/points"},
        world_frame="odom",
    )
    sample = BagDataset([direct.index.path], spec)[0]
    voxels, lidar = sample.labels["voxels"], sample.labels["lidar"]
    cells, inside = voxels.grid.index_of(lidar.xyz)
    labels = voxels.labels[tuple(cells[inside].T)]
    known = labels != 255
    assert (labels[known] > 0).mean() > 0.97


def test_depth_in_the_bag_is_that_of_the_sweep(worlds):
    """LiDAR through the bag's transforms meets the depth image of the same camera."""
    _, _, direct = worlds("kitti")
    camera = "/camera_color/left"
    spec = SampleSpec(
        cameras=(f"{camera}/image_rect/compressed",),
        labels={"depth": f"/ground_truth{camera}/depth", "lidar": "/velodyne/points"},
    )
    sample = BagDataset([direct.index.path], spec)[0]
    view, lidar = sample.views[0].frame, sample.labels["lidar"]
    T = inverse(view.camera.T_base_cam) @ lidar.T_base_sensor
    seen = project_points(lidar.xyz, view.camera, T)
    u, v = np.rint(seen.uv).astype(int).T
    depth_m = sample.labels["depth"].values[v, u]
    near = np.abs(depth_m - seen.depth_m) < 0.03 * seen.depth_m
    assert near.mean() > 0.85  # the rest: edges of a small image, and parallax


def test_a_world_with_one_pair_of_cameras(worlds, tmp_path):
    world, frames, _ = worlds("kitti")
    scene = WorldScene(world.config, cameras=("image_2", "image_3"), frames=frames)
    report = convert_scene(scene, tmp_path, Options())
    assert report.counts["/camera_color/right/camera_info"] == 2
    assert not [topic for topic in report.counts if topic.startswith("/camera/")]
    with BagReader(tmp_path / scene.name) as bag:
        assert find_stereo(bag).left_info == "/camera_color/left/camera_info"


def test_another_rig_has_another_layout(worlds, tmp_path):
    scene, frames, _ = worlds("kitti")
    with pytest.raises(ConfigError, match="needs the rig nuscenes"):
        write_tree("nuscenes", scene, frames, tmp_path, 9000)
    with pytest.raises(ConfigError, match="unknown layout"):
        write_tree("waymo", scene, frames, tmp_path, 9000)
