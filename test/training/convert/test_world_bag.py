"""The world's bag, by nothing but what is in it: calibration, transforms, images, truth."""

import json

import numpy as np
import pytest
from training.convert.conversions import Opened, points_of

from occ_perception.core.labels import load_label_map
from occ_perception.geometry.transforms import inverse
from occ_training.convert.content import Options
from occ_training.convert.runner import convert_scene
from occ_training.convert.world_bag import Film, WorldScene
from occ_training.data.bag_dataset import BagDataset
from occ_training.data.bag_scene import SampleSpec
from occ_training.world.config import WorldConfig
from occ_training.world.frames import Parts, make_frame
from occ_training.world.manifest import frame_digests
from occ_training.world.scene import (
    LANDMARK_SIZE_M,
    LANDMARK_XY_M,
    MARKED_CUBE_M,
    MARKED_CUBE_SIZE_M,
    build_scene,
)
from occ_training.world.sensed import Mapper

STREET = WorldConfig(frames=2, movers=False, landmark=True)
PAIR = tuple(f"/camera_color/{side}" for side in ("left", "right"))
CORNERS = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3), -1).reshape(8, 3)


def write(config, folder, **options):
    scene = WorldScene(config, **options)
    report = convert_scene(scene, folder, Options())
    assert report.problems == []
    return folder / scene.name


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    folder = tmp_path_factory.mktemp("street")
    return write(STREET, folder, cameras=("image_2", "image_3"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    config = WorldConfig("nuscenes", frames=1, marked_cube=True)
    return write(config, tmp_path_factory.mktemp("plain"))


def samples(path, cameras):
    """Images with the truth of their pixels and of the voxels."""
    truth = {
        f"{camera} {kind}": f"/ground_truth{camera}/{kind}{end}"
        for camera in cameras
        for kind, end in (("instance", "/compressed"), ("depth", ""))
    }
    images = tuple(t for t in Opened(path).index.topics if t.endswith("/compressed"))
    images = tuple(t for t in images if t.rsplit("/", 2)[0] in cameras)
    return BagDataset([path], SampleSpec(cameras=images, labels=truth, world_frame="odom"))


def cube_pixels(sample, camera, instance):
    """u and v of an object in an image, by the labels of its pixels."""
    ids = sample.labels[f"{camera} instance"].values
    v, u = np.nonzero((ids > 1000) & (ids % 1000 == instance))
    return u, v


@pytest.mark.parametrize("frame", [0, 1])
def test_landmark_is_seen_where_calibration_and_transforms_put_it(street, frame):
    scene, dataset = build_scene(STREET), samples(street, PAIR)
    instance = scene.instances[-1]
    (row,) = np.flatnonzero(scene.prims.instance_id == instance["id"])
    T_velo_world = inverse(scene.pose(0.0) @ scene.rig.T_base_grid)
    # The cube stands upright in the world; only its height is taken from there.
    z = (T_velo_world @ [*scene.prims.center[row], 1.0])[2]
    T_base_velo = Opened(street).transforms.fixed("base_link", "velodyne")
    first, sample = dataset[0], dataset[frame]
    corners = np.array([*LANDMARK_XY_M, z]) + LANDMARK_SIZE_M * CORNERS
    world = np.c_[corners, np.ones(8)] @ (first.views[0].T_world_base @ T_base_velo).T
    for view, camera in zip(sample.views, PAIR, strict=True):
        in_camera = (world @ inverse(view.T_world_cam).T)[:, :3]
        pixels = in_camera @ view.frame.camera.K.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        u, v = cube_pixels(sample, camera, instance["id"])
        np.testing.assert_allclose((u.min(), v.min()), pixels.min(0), atol=1.5)
        np.testing.assert_allclose((u.max(), v.max()), pixels.max(0), atol=1.5)
        assert u.max() < view.frame.camera.K[0, 2]  # left of the axis
        red, green, blue = view.frame.image[v, u].astype(int).mean(0)
        assert red > 2 * max(green, blue)


def test_disparity_agrees_with_depth(street):
    """The right image shifted by the depth in the bag is the left one, and not when unshifted."""
    sample = samples(street, PAIR)[0]
    P = Opened(street).matrix("/camera_color/right/camera_info", "p")
    assert P[0, 3] / P[0, 0] == pytest.approx(-0.5379, abs=1e-4)  # as published
    left, right = (view.frame.image.astype(float).mean(-1) for view in sample.views)
    depth = sample.labels[f"{PAIR[0]} depth"].values
    v, u = np.indices(left.shape)
    source = u + P[0, 3] / np.where(depth > 0, depth, 1)
    inside = (depth > 0) & (source >= 0) & (source <= left.shape[1] - 2)
    start = np.where(inside, np.floor(source), 0).astype(int)
    share = source - start
    warped = (1 - share) * right[v, start] + share * right[v, start + 1]
    error, unshifted = (np.abs(image - left)[inside] for image in (warped, right))
    assert np.median(error) < 3
    assert unshifted.mean() > 2 * error.mean()  # what is left is hidden from the right camera


def test_voxels_and_sweep_have_the_landmark_to_the_left(street):
    bag = Opened(street)
    spec = SampleSpec(cameras=(f"{PAIR[0]}/image_rect/compressed",),
                      labels={"voxels": "/ground_truth/voxels"})  # fmt: skip
    voxels = BagDataset([street], spec)[0].labels["voxels"]
    sign = load_label_map(voxels.label_map).id_of("traffic-sign")
    centers = voxels.grid.center_of(np.argwhere(voxels.labels == sign))
    near = np.abs(centers[:, :2] - LANDMARK_XY_M).max(axis=1) < LANDMARK_SIZE_M
    for axis in range(2):
        low, high = centers[near, axis].min(), centers[near, axis].max()
        assert (low + high) / 2 == pytest.approx(LANDMARK_XY_M[axis], abs=0.2)
        assert LANDMARK_SIZE_M - 0.3 <= high - low + 0.2 <= LANDMARK_SIZE_M + 0.5
    right = voxels.grid.index_of([(*LANDMARK_XY_M * np.array([1, -1]), -0.9)])[0][0]
    assert voxels.labels[tuple(right)] != sign
    labelled = bag.messages("/ground_truth/points")[0]
    rows = np.frombuffer(labelled.data, np.uint8).reshape(-1, labelled.point_step)
    offset = next(f.offset for f in labelled.fields if f.name == "label")
    raw = np.ascontiguousarray(rows[:, offset : offset + 2]).view("<u2")[:, 0]
    points = points_of(labelled)[raw == 81]
    hits = points[np.abs(points[:, :2] - LANDMARK_XY_M).max(axis=1) < LANDMARK_SIZE_M]
    assert len(hits) > 20
    assert np.abs(hits[:, :2] - LANDMARK_XY_M).max() < LANDMARK_SIZE_M / 2 + 0.1


def test_marked_cube_lands_on_its_place_in_every_picture_and_in_the_voxels(plain):
    """Right of the axis, in a bag whose cameras look around: through its own calibration."""
    bag = Opened(plain)
    cameras = [t.rsplit("/", 1)[0] for t in bag.index.topics if t.endswith("/camera_info")]
    sample_of = {camera: samples(plain, (camera,))[0] for camera in cameras}
    seen = 0
    for camera, sample in sample_of.items():
        u, v = cube_pixels(sample, camera, 1)
        if not len(u):
            continue
        view, seen = sample.views[0], seen + 1
        depth = sample.labels[f"{camera} depth"].values[v, u]
        rays = np.c_[u, v, np.ones(len(u))] @ np.linalg.inv(view.frame.camera.K).T
        in_camera = np.c_[rays * depth[:, None], np.ones(len(u))]
        # The car moves between the stamps of image and voxels: by way of the world.
        T_base_world = inverse(
            bag.transforms.at("map", "base_link", bag.stamps("/ground_truth/voxels")[0], 0)
        )
        points = in_camera @ (T_base_world @ view.T_world_cam).T
        assert (np.abs(points[:, :3] - MARKED_CUBE_M) < MARKED_CUBE_SIZE_M / 2 + 0.03).all()
    assert seen
    message = bag.messages("/ground_truth/voxels")[0]
    labels = message.labels.reshape(message.size_x, message.size_y, message.size_z)
    car = np.argwhere(labels == load_label_map(message.label_map).id_of("car"))
    origin = message.origin.position
    centers = np.array([origin.x, origin.y, origin.z]) + (car + 0.5) * message.resolution
    assert (np.abs(centers - MARKED_CUBE_M) < MARKED_CUBE_SIZE_M / 2 + 0.25).all()
    assert len(car) >= 4


def test_a_bag_says_which_world_it_is_and_what_it_must_hold(street):
    bag = Opened(street)
    (about,) = bag.messages("/ground_truth/world")
    assert "seed=7" in about.data and "sensed" in about.data
    (solids,) = bag.messages("/ground_truth/world/primitives")
    assert len(json.loads(solids.data)["primitives"]["kind"]) == len(build_scene(STREET).prims)
    scene = build_scene(STREET)
    hashes = [json.loads(m.data) for m in bag.messages("/ground_truth/world/hashes")]
    again = frame_digests(make_frame(scene, Mapper(scene), 1))
    assert len(hashes) == 2
    assert hashes[1] == {name: again[name] for name in hashes[1]}
    assert len(hashes[0]) > len(hashes[1]) > 10  # voxels on the first only


def test_frames_are_made_when_they_are_written():
    made = []

    def frames():
        for index in range(3):
            made.append(index)
            yield type("Frame", (), {"index": index})

    film = Film(frames(), range(3))
    assert film[0].index == film[0].index == 0
    assert made == [0]
    assert film[2].index == 2


def test_single_cameras_have_no_bag(tmp_path):
    report = convert_scene(WorldScene(WorldConfig("cityscapes")), tmp_path, Options())
    assert report.failed
    assert "single camera" in report.problems[0]
    assert list(tmp_path.iterdir()) == []


def test_raw_images_have_the_pixels_of_the_packed_ones(street, tmp_path):
    frame = make_frame(build_scene(STREET), Mapper(build_scene(STREET)), 0, Parts(voxels=False))
    scene = WorldScene(STREET, ("image_0", "image_2"), frames=(frame,))
    report = convert_scene(scene, tmp_path, Options(raw_images=True))
    assert report.problems == [] and not [t for t in report.counts if "compressed" in t]
    raw = Opened(tmp_path / scene.name)
    (grey,) = raw.messages("/camera/left/image_rect")
    (colour,) = raw.messages("/camera_color/left/image_rect")
    assert (grey.encoding, colour.encoding) == ("mono8", "rgb8")
    packed = samples(street, PAIR)[0].views[0].frame.image
    assert np.array_equal(colour.data.reshape(packed.shape), packed)
    (instances,) = raw.messages("/ground_truth/camera_color/left/instance")
    assert instances.encoding == "mono16"
