from types import SimpleNamespace

import numpy as np
import pytest

from occ_perception.bags.reader import BagReader
from occ_perception.bags.stereo import find_stereo
from occ_perception.core.errors import BagError, ConfigError
from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import load_label_map
from occ_perception.geometry.transforms import inverse, transform
from occ_training.world import box_street as street
from occ_training.world.box_scene import WORLD_FRAME, kitti_rig, view_of, write_box_bag

SCALE = 0.5
LABELS = load_label_map("semantickitti")


def matrix(message):
    t, r = message.transform.translation, message.transform.rotation
    return transform((t.x, t.y, t.z), (r.x, r.y, r.z, r.w))


def read(path):
    """Everything in a bag by topic, and its transforms as parent-child edges."""
    content, static = {}, {}
    with BagReader(path) as bag:
        stereo = find_stereo(bag)
        for message in bag.messages():
            content.setdefault(message.topic, []).append(bag.decode(message))
        for edge in content["/tf_static"][0].transforms:
            static[edge.header.frame_id, edge.child_frame_id] = matrix(edge)
    return SimpleNamespace(content=content, static=static, stereo=stereo)


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp("box") / "bag"
    write_box_bag(path, frames=3, scale=SCALE)
    return read(path)


def camera_in_world(bag, frame, camera):
    """Pose of an optical frame in the world, by the bag's transforms alone."""
    edge = bag.content["/tf"][frame].transforms[0]
    assert (edge.header.frame_id, edge.child_frame_id) == (WORLD_FRAME, "base_link")
    T_base_velo = bag.static["base_link", "velodyne"]
    return matrix(edge) @ T_base_velo @ bag.static["velodyne", camera]


def picture(bag, side, frame):
    message = bag.content[f"/kitti/{side}/image_rect"][frame]
    assert message.encoding == "rgb8"
    return message.data.reshape(message.height, message.width, 3)


def cube_pixels(image):
    v, u = np.nonzero((image == street.CUBE_RGB).all(-1))
    assert len(u) > 100
    return u, v


def test_bag_holds_a_stereo_pair_at_each_stamp(bag):
    assert bag.stereo.left_image == "/kitti/left/image_rect"
    counts = {topic: len(messages) for topic, messages in bag.content.items()}
    latched = {"/tf_static", "/ground_truth/label_map"}
    assert all(n == (1 if topic in latched else 3) for topic, n in counts.items())
    for frame in range(3):
        stamps = {
            (m[frame].header.stamp.sec, m[frame].header.stamp.nanosec)
            for topic, m in bag.content.items()
            if topic.startswith("/kitti")
        }
        assert len(stamps) == 1


@pytest.mark.parametrize("frame", [0, 2])
@pytest.mark.parametrize("side", ["left", "right"])
def test_cube_is_seen_where_calibration_and_transforms_put_it(bag, side, frame):
    info = bag.content[f"/kitti/{side}/camera_info"][frame]
    assert info.header.frame_id == f"camera_{side}_optical"
    # P of a ROS stereo pair projects points of the LEFT optical frame for both images.
    T_cam_world = inverse(camera_in_world(bag, frame, "camera_left_optical"))
    signs = np.stack(np.meshgrid(*[[-1, 1]] * 3), -1).reshape(8, 3)
    corners = np.array(street.CUBE_CENTER_M) + 0.5 * street.CUBE_SIZE_M * signs
    in_camera = np.hstack([corners, np.ones((8, 1))]) @ T_cam_world.T
    pixels = in_camera @ info.p.reshape(3, 4).T
    pixels = pixels[:, :2] / pixels[:, 2:]
    u, v = cube_pixels(picture(bag, side, frame))
    np.testing.assert_allclose((u.min(), v.min()), pixels.min(0), atol=1.5)
    np.testing.assert_allclose((u.max(), v.max()), pixels.max(0), atol=1.5)
    assert u.max() < info.k[2]  # left of the axis


def test_disparity_agrees_with_depth(bag):
    """The right image shifted by the rendered depth is the left image, and not when unshifted."""
    baseline = -bag.content["/kitti/right/camera_info"][0].p[3]
    depth = view_of(street.build_street(7, LABELS), kitti_rig(SCALE).left, 0).depth_m
    left, right = (picture(bag, side, 0).astype(float).mean(-1) for side in ("left", "right"))
    v, u = np.indices(left.shape)
    source = u - baseline / depth
    inside = np.isfinite(depth) & (source >= 0) & (source <= left.shape[1] - 2)
    start = np.floor(source).astype(int)
    share = source - start
    start = np.where(inside, start, 0)
    warped = (1 - share) * right[v, start] + share * right[v, start + 1]
    error = np.abs(warped - left)[inside]
    assert np.median(error) < 1.0
    assert error.mean() < 4.0  # the rest is hidden from the right camera
    assert np.abs(right - left)[inside].mean() > 2 * error.mean()


def test_sky_is_infinitely_far_and_ground_is_where_it_must_be():
    rig = kitti_rig(SCALE)
    seen = view_of(street.build_street(7, LABELS), rig.left, 0)
    assert np.isinf(seen.depth_m[0, 300]) and seen.label[0, 300] == 0
    u, v = 300, 180
    ray = np.linalg.inv(rig.left.K) @ (u, v, 1)
    point = rig.left.T_base_cam @ (*(ray * seen.depth_m[v, u]), 1)
    assert seen.label[v, u] == LABELS.id_of("road")
    assert point[2] == pytest.approx(street.GROUND_Z_M, abs=1e-3)


@pytest.mark.parametrize("frame", [0, 2])
def test_voxel_truth_has_the_cube_where_it_stands(bag, frame):
    message = bag.content["/ground_truth/voxels"][frame]
    assert message.header.frame_id == "velodyne"
    labels = message.labels.reshape(message.size_x, message.size_y, message.size_z)
    origin = message.origin.position
    size = (message.resolution,) * 3
    grid = GridSpec((origin.x, origin.y, origin.z), size, labels.shape, "velodyne")
    edge = bag.content["/tf"][frame].transforms[0]
    T_velo_world = inverse(matrix(edge) @ bag.static["base_link", "velodyne"])
    center = T_velo_world @ (*street.CUBE_CENTER_M, 1)
    cube = np.argwhere(labels == LABELS.id_of(street.CUBE_CLASS))
    np.testing.assert_allclose(grid.center_of(cube).mean(0), center[:3], atol=0.1)
    # A voxel counts as soon as one of its inner points is inside: up to one voxel larger.
    side_m = (len(cube) * message.resolution**3) ** (1 / 3)
    assert street.CUBE_SIZE_M - 0.1 <= side_m <= street.CUBE_SIZE_M + message.resolution
    assert center[1] > 3  # left of the axis


def test_truth_is_unknown_where_the_camera_does_not_look(bag):
    message = bag.content["/ground_truth/voxels"][0]
    labels = message.labels.reshape(message.size_x, message.size_y, message.size_z)
    grid = GridSpec((0, -25.6, -2), (0.2,) * 3, labels.shape, "velodyne")
    index, _ = grid.index_of([(10.0, 0.0, 0.0), (1.0, 20.0, 1.0), (24.0, 5.2, -0.6)])
    ahead, beside, behind_cube = (labels[tuple(i)] for i in index)
    assert ahead == LABELS.free_id
    assert beside == LABELS.unknown_id
    assert behind_cube == LABELS.unknown_id
    classes = set(np.unique(labels)) - {LABELS.free_id, LABELS.unknown_id}
    wanted = {"road", "sidewalk", "car", "building", "pole", "person", "vegetation"}
    assert {LABELS.id_of(name) for name in wanted} <= classes


def test_equal_seeds_give_equal_bags_and_others_do_not(tmp_path):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        write_box_bag(tmp_path / name, frames=1, scale=0.1, seed=seed)
    a, b, c = (
        read(tmp_path / name).content["/kitti/left/image_rect"][0].data for name in ("a", "b", "c")
    )
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_rig_is_the_published_one():
    rig = kitti_rig()
    assert (rig.left.width, rig.left.height) == (1226, 370)
    assert -rig.right.P[0, 3] / rig.right.P[0, 0] == pytest.approx(0.5379, abs=1e-4)
    offset = inverse(rig.left.T_base_cam) @ rig.right.T_base_cam
    np.testing.assert_allclose(offset[:3, 3], (0.5379, 0, 0), atol=1e-4)
    assert rig.left.T_base_cam[2, 3] == pytest.approx(1.65, abs=0.01)


def test_impossible_requests_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="0 frames"):
        write_box_bag(tmp_path / "x", frames=0)
    with pytest.raises(ConfigError, match="scale"):
        write_box_bag(tmp_path / "x", scale=2.0)
    (tmp_path / "file").write_text("")
    with pytest.raises(BagError, match="no bag"):
        write_box_bag(tmp_path / "file", frames=1, scale=0.1)
