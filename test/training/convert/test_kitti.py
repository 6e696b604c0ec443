import shutil

import numpy as np
import pytest
from training.convert.conversions import Opened, convert_all, points_of, stamp_of
from training.convert.small_trees import (
    PERIOD_NS,
    TR,
    base_pose,
    kitti_calibration,
    kitti_frames,
    write_kitti,
)

from occ_perception.bags.cameras import cameras_of_bag
from occ_perception.core.camera import Camera
from occ_perception.geometry.transforms import inverse
from occ_perception.viz.bag_pictures import project_points
from occ_perception.voxels.visibility import voxels_in_view
from occ_training.convert.content import rigid
from occ_training.convert.kitti import find_sequences
from occ_training.convert.semantickitti_voxels import GRID, SEMANTICKITTI_SCHEME, training_voxels

EPOCH_NS = 1_893_456_000 * 10**9
LEFT = "/camera/left/image_rect/compressed"
COLOUR = "/camera_color/{}/image_rect/compressed"


@pytest.fixture(scope="module")
def frames():
    return kitti_frames()


@pytest.fixture(scope="module")
def tree(tmp_path_factory, frames):
    return write_kitti(tmp_path_factory.mktemp("kitti"), frames)


@pytest.fixture
def fresh(tree, tmp_path):
    """A copy that a test may damage: the folder of its sequence."""
    return shutil.copytree(tree, tmp_path / "dataset") / "sequences" / "30"


@pytest.fixture(scope="module")
def bag(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("bags")
    reports = convert_all(find_sequences(tree, semantic=True, epoch_ns=EPOCH_NS), out)
    assert reports["semantickitti_30"].problems == []
    return Opened(out / "semantickitti_30")


def convert_fresh(fresh, tmp_path, *, semantic=True):
    scenes = find_sequences(fresh.parents[1], semantic=semantic, epoch_ns=EPOCH_NS)
    (report,) = convert_all(scenes, tmp_path / "out").values()
    return report


def test_images_keep_their_bytes_and_stamps(bag, tree):
    for side, number in (("left", 2), ("right", 3)):
        messages = bag.messages(COLOUR.format(side))
        for frame, message in enumerate(messages):
            path = tree / f"sequences/30/image_{number}/{frame:06d}.png"
            assert message.data.tobytes() == path.read_bytes()
            assert message.format == "png"
            assert stamp_of(message) == EPOCH_NS + frame * PERIOD_NS
        assert bag.stamps(COLOUR.format(side)) == bag.stamps(f"/camera_color/{side}/camera_info")


def test_a_stereo_pair_has_its_origin_at_the_left_camera(bag):
    P = kitti_calibration()
    for topic, (left, right) in {"/camera": ("P0", "P1"), "/camera_color": ("P2", "P3")}.items():
        ours = {s: bag.matrix(f"{topic}/{s}/camera_info", "p") for s in ("left", "right")}
        np.testing.assert_allclose(ours["left"][:, :3], P[left][:, :3], atol=1e-9)
        np.testing.assert_array_equal(ours["left"][:, 3], 0)
        np.testing.assert_allclose(ours["right"][0, 3], P[right][0, 3] - P[left][0, 3], atol=1e-9)
        np.testing.assert_array_equal(ours["right"][1:, 3], 0)
        np.testing.assert_array_equal(
            bag.matrix(f"{topic}/left/camera_info", "k"), ours["left"][:, :3]
        )


@pytest.mark.parametrize("number", range(4))
def test_published_projection_and_transforms_agree(bag, number):
    """P * Tr of the files, and K * T of the bag, must send a point to the same pixel."""
    name = ("camera_left", "camera_right", "camera_color_left", "camera_color_right")[number]
    P = kitti_calibration()[f"P{number}"]
    point = np.array([12.3, -4.5, 1.1, 1.0])
    Tr = rigid(TR)
    expected = P @ Tr @ point
    T = bag.transforms.fixed(f"{name}_optical", "velodyne")
    ours = P[:, :3] @ (T @ point)[:3]
    np.testing.assert_allclose(ours[:2] / ours[2], expected[:2] / expected[2], atol=1e-6)


def test_poses_are_those_of_a_base_on_the_ground(bag):
    first = base_pose(0)
    for frame, stamp in enumerate(bag.stamps(LEFT)):
        T = bag.transforms.at("odom", "base_link", stamp, 0)
        np.testing.assert_allclose(T, inverse(first) @ base_pose(frame), atol=1e-6)
    np.testing.assert_array_equal(bag.transforms.fixed("map", "odom"), np.eye(4))
    assert bag.transforms.fixed("base_link", "velodyne")[2, 3] == 1.73
    poses = bag.messages("/ground_truth/pose")
    assert poses[3].pose.position.x == pytest.approx(base_pose(3)[0, 3], abs=1e-6)


def test_sweeps_and_their_labels(bag, frames):
    for frame, message in zip(frames, bag.messages("/velodyne/points"), strict=True):
        np.testing.assert_array_equal(points_of(message), frame.sweep[:, :3])
        assert message.point_step == 16
        assert message.is_dense
    labelled = bag.messages("/ground_truth/points")[0]
    data = np.frombuffer(labelled.data, np.uint8).reshape(-1, labelled.point_step)
    ours = np.ascontiguousarray(data[:, 12:16]).view("<u2")
    np.testing.assert_array_equal(ours[:, 0], frames[0].point_labels & 0xFFFF)
    np.testing.assert_array_equal(ours[:, 1], frames[0].point_labels >> 16)


def test_points_that_are_not_finite_are_left_out(fresh, tmp_path):
    path = fresh / "velodyne" / "000000.bin"
    sweep = np.fromfile(path, "<f4").reshape(-1, 4)
    sweep[3, 1] = np.nan
    sweep.tofile(path)
    convert_fresh(fresh, tmp_path)
    opened = Opened(tmp_path / "out" / "semantickitti_30")
    for topic in ("/velodyne/points", "/ground_truth/points"):
        assert opened.messages(topic)[0].width == len(sweep) - 1


def test_voxels_are_training_ids_with_a_mask(bag, frames):
    raw = [frame.voxels for frame in frames if frame.voxels is not None]
    messages = bag.messages("/ground_truth/voxels")
    assert [stamp_of(m) - EPOCH_NS for m in messages] == [0, 5 * PERIOD_NS]
    for voxels, message in zip(raw, messages, strict=True):
        labels = message.labels.reshape(GRID.shape)
        expected = training_voxels(voxels.labels, voxels.invalid, SEMANTICKITTI_SCHEME)
        np.testing.assert_array_equal(labels, expected)
        assert labels[10, 20, 3] == 1  # a moving car is a car
        assert labels[30, 40, 5] == 255  # an ignored object is not empty
        np.testing.assert_array_equal(message.known.reshape(GRID.shape) == 1, labels != 255)
        assert message.header.frame_id == "velodyne"
        assert message.label_map == "semantickitti"
    assert bag.messages("/ground_truth/label_map")[0].free_id == 0


def test_preprocessed_labels_stand_in_for_raw_ones(fresh, tmp_path, tree):
    shutil.copytree(tree.parent / "labels", fresh.parents[2] / "labels")
    whole = convert_fresh(fresh, tmp_path)
    first = Opened(tmp_path / "out" / "semantickitti_30").messages("/ground_truth/voxels")
    shutil.rmtree(fresh / "voxels")
    again = convert_fresh(fresh, tmp_path)
    second = Opened(tmp_path / "out" / "semantickitti_30").messages("/ground_truth/voxels")
    assert whole.counts == again.counts
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.labels, b.labels)


def test_raw_images_on_demand(tree, tmp_path, frames):
    scenes = find_sequences(tree, semantic=False, epoch_ns=EPOCH_NS)
    convert_all(scenes, tmp_path, raw_images=True)
    opened = Opened(tmp_path / "kitti_30")
    colour = opened.messages("/camera_color/left/image_rect")[2]
    assert colour.encoding == "rgb8"
    np.testing.assert_array_equal(
        colour.data.reshape(colour.height, colour.width, 3), frames[2].images["image_2"]
    )
    assert opened.messages("/camera/left/image_rect")[0].encoding == "mono8"


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def flip_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def set_label(path, raw):
    labels = np.fromfile(path, "<u2")
    labels[5] = raw
    labels.tofile(path)


@pytest.mark.parametrize(
    ("file", "damage", "topic", "words"),
    [
        ("image_2/000001.png", cut, COLOUR.format("left"), "cut off"),
        ("image_2/000001.png", flip_byte, COLOUR.format("left"), "damaged"),
        ("image_3/000002.png", lambda p: p.unlink(), COLOUR.format("right"), "lacks 1 frames (2)"),
        ("velodyne/000003.bin", cut, "/velodyne/points", "multiple of 16 bytes"),
        ("labels/000003.label", cut, "/ground_truth/points", "instead of 200 bytes"),
        ("voxels/000005.label", cut, "/ground_truth/voxels", "4194304 bytes"),
        ("voxels/000005.invalid", cut, "/ground_truth/voxels", "262144 bytes"),
        (
            "voxels/000005.label",
            lambda p: set_label(p, 77),
            "/ground_truth/voxels",
            "unknown label ids [77]",
        ),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_converted(
    fresh, tmp_path, bag, file, damage, topic, words
):
    damage(fresh / file)
    report = convert_fresh(fresh, tmp_path)
    assert not report.failed
    assert len(report.problems) == 1
    assert words in report.problems[0]
    assert file.split("/")[0] in report.problems[0]
    whole = {name: len(entry) for name, entry in bag.index.topics.items()}
    fewer = {name for name in whole if report.counts[name] != whole[name]}
    goes_with = {
        "image": {topic.replace("image_rect/compressed", "camera_info")},
        "velodyne": {"/ground_truth/points"},
    }
    expected = (others for part, others in goes_with.items() if file.startswith(part))
    assert fewer == {topic}.union(*expected)
    assert report.counts[topic] == whole[topic] - 1


def test_a_camera_that_was_not_copied_is_absent_not_damaged(fresh, tmp_path):
    shutil.rmtree(fresh / "image_3")
    report = convert_fresh(fresh, tmp_path)
    assert report.problems == []
    assert report.absent == ["image_3 (/camera_color/right)"]
    assert report.counts[COLOUR.format("left")] == 6


def test_times_that_go_back_lose_their_frame(fresh, tmp_path):
    times = (fresh / "times.txt").read_text().splitlines()
    times[3] = times[1]
    (fresh / "times.txt").write_text("\n".join(times))
    report = convert_fresh(fresh, tmp_path)
    assert report.counts[LEFT] == 5
    assert any("does not go forward" in p and "times.txt line 4" in p for p in report.problems)


def test_a_pose_that_is_no_pose(fresh, tmp_path):
    poses = (fresh / "poses.txt").read_text().splitlines()
    poses[2] = poses[2].replace(poses[2].split()[3], "nan")
    (fresh / "poses.txt").write_text("\n".join(poses))
    report = convert_fresh(fresh, tmp_path)
    assert report.counts["/tf"] == 5
    assert any("poses.txt line 3" in p for p in report.problems)


@pytest.mark.parametrize("missing", ["times.txt", "calib.txt"])
def test_without_times_or_calibration_there_is_no_bag(fresh, tmp_path, missing):
    (fresh / missing).unlink()
    report = convert_fresh(fresh, tmp_path)
    assert report.failed
    assert missing in report.problems[0]
    assert not (tmp_path / "out" / "semantickitti_30").exists()
    assert not list((tmp_path / "out").glob(".*partial*"))


@pytest.mark.parametrize("line", ["P0", "Tr"])
def test_calibration_of_another_group_is_refused(tmp_path, line, shared_dir):
    """Full-size images of 06 with one line of the calibration of 00."""
    source = shared_dir / "data/kitti_odometry"
    folder = tmp_path / "sequences" / "06"
    for camera in ("image_0", "image_1"):
        (folder / camera).mkdir(parents=True)
        shutil.copy(source / f"sequences/06/{camera}/000000.png", folder / camera)
    (folder / "times.txt").write_text("0.0\n")
    right, wrong = (
        dict(
            row.split(":", 1) for row in (source / f"calib/{n}/calib.txt").read_text().splitlines()
        )
        for n in ("06", "00")
    )
    right[line] = wrong[line]
    (folder / "calib.txt").write_text("".join(f"{k}:{v}\n" for k, v in right.items()))
    (report,) = convert_all(find_sequences(tmp_path, semantic=False), tmp_path / "out").values()
    assert report.failed
    assert "does not belong to images of 1226 px" in report.problems[0]


def test_the_real_sequence_equals_the_independent_bag(shared_dir, tmp_path):
    scenes = find_sequences(shared_dir / "data/kitti_odometry", semantic=False)
    reports = convert_all([s for s in scenes if s.number == "06"], tmp_path)
    assert "lacks 35 frames" in reports["kitti_06"].problems[0]  # times.txt is longer
    shutil.copytree(shared_dir / "data/rosbag2_from_real/kitti_06", tmp_path / "reference")
    ours, theirs = Opened(tmp_path / "kitti_06"), Opened(tmp_path / "reference")
    scan = np.fromfile(
        shared_dir / "data/kitti_odometry/sequences/00/velodyne/000000.bin", "<f4"
    ).reshape(-1, 4)
    for side in ("left", "right"):
        topic = f"/camera/{side}/image_rect/compressed"
        for a, b in zip(ours.messages(topic), theirs.messages(topic), strict=False):
            assert stamp_of(a) == stamp_of(b)
            assert a.data.tobytes() == b.data.tobytes()
        info = f"/camera/{side}/camera_info"
        for name in "kp":
            np.testing.assert_allclose(ours.matrix(info, name), theirs.matrix(info, name))
        assert seen_points(ours, topic, scan) == seen_points(theirs, topic, scan) > 10_000


def seen_points(opened, topic, scan):
    source = cameras_of_bag(opened.index, opened.store)[topic]
    camera = Camera(topic, source.P, source.width, source.height)
    T = opened.transforms.fixed(source.frame_id, "velodyne")
    return len(project_points(scan[:, :3], camera, T).index)


def test_the_published_field_of_view_follows_from_the_bag(shared_dir, tmp_path):
    """Of sequence 04; the mask was made for 1220 px, with camera 2 at the place of camera 0."""
    import cv2

    folder = tmp_path / "sequences" / "04"
    for name in ("image_2", "image_3"):
        (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / name / "000000.png"), np.zeros((370, 1226, 3), np.uint8))
    shutil.copy(shared_dir / "data/kitti_odometry/calib/04/calib.txt", folder)
    (folder / "times.txt").write_text("0.0\n")
    convert_all(find_sequences(tmp_path, semantic=False), tmp_path / "out")
    opened = Opened(tmp_path / "out" / "kitti_04")
    source = cameras_of_bag(opened.index, opened.store)[COLOUR.format("left")]
    T_velodyne_camera = opened.transforms.fixed("velodyne", "camera_left_optical")
    camera = Camera("left", source.P, 1220, 370, T_velodyne_camera)
    ours = voxels_in_view(GRID, camera).numpy().ravel()
    published = np.load(shared_dir / "data/semantickitti_fov/fov_mask_1.npy").ravel()
    assert (ours == published).mean() > 0.999
