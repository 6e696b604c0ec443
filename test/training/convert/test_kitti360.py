from pathlib import Path

import numpy as np
import pytest
from training.convert.conversions import Opened, convert_all, stamp_of
from training.convert.small_trees import (
    DRIVE,
    MEI,
    PERIOD_NS,
    START_NS,
    base_pose,
    kitti360_frames,
    write_calibration,
    write_kitti360,
)

from occ_training.convert.fisheye_fit import equidistant
from occ_training.convert.kitti360 import (
    find_drives,
    find_match_list,
    read_match_list,
)
from occ_training.convert.kitti360_rig import Calibration
from occ_training.convert.report import DatasetError
from occ_training.convert.semantickitti_voxels import GRID, SSCBENCH_SCHEME, training_voxels


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return kitti360_frames(write_calibration(tmp_path_factory.mktemp("k") / "calibration"))


@pytest.fixture(scope="module")
def tree(frames, tmp_path_factory):
    return write_kitti360(tmp_path_factory.mktemp("tree") / "kitti360", frames)


@pytest.fixture(scope="module")
def bag(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("bags")
    report = convert_all(find_drives(tree), out)[f"kitti360_{DRIVE}"]
    assert report.problems == []
    assert report.absent == ["poses of 2 frames (2-3)"]
    return Opened(out / f"kitti360_{DRIVE}")


def test_images_keep_their_bytes_and_nanoseconds(bag, tree):
    for topic, folder in {
        "/perspective/left/image_rect": "image_00/data_rect",
        "/perspective/right/image_rect": "image_01/data_rect",
        "/fisheye/left/image_raw": "image_02/data_rgb",
        "/fisheye/right/image_raw": "image_03/data_rgb",
        "/ground_truth/perspective/left/semantic": "",
        "/ground_truth/perspective/left/instance": "",
    }.items():
        files = tree / "data_2d_raw" / DRIVE / folder
        if not folder:
            files = tree / "data_2d_semantics/train" / DRIVE / "image_00" / topic.split("/")[-1]
        for number, message in enumerate(bag.messages(f"{topic}/compressed")):
            assert message.data.tobytes() == (files / f"{number:010d}.png").read_bytes()
            assert stamp_of(message) == START_NS + number * PERIOD_NS


def test_the_base_stands_on_the_ground_whatever_the_pose_frame(bag):
    stamps = bag.stamps("/perspective/left/image_rect/compressed")
    assert bag.stamps("/tf") == [stamps[i] for i in (0, 1, 4, 5)]  # nothing in the gap
    for i in (0, 1, 4, 5):
        T = bag.transforms.at("map", "base_link", stamps[i], 0)
        np.testing.assert_allclose(T, base_pose(i), atol=1e-6)
    T_base_pose = bag.transforms.fixed("base_link", "pose")
    assert T_base_pose[2, 2] < -0.99  # z of the data set's pose frame points down


def test_camera_poses_stand_in_for_missing_ones(tree, tmp_path):
    import shutil

    copy = shutil.copytree(tree, tmp_path / "tree")
    (copy / "data_poses" / DRIVE / "poses.txt").unlink()
    convert_all(find_drives(copy), tmp_path / "out")
    opened = Opened(tmp_path / "out" / f"kitti360_{DRIVE}")
    T = opened.transforms.at("map", "base_link", opened.stamps("/tf")[2], 0)
    np.testing.assert_allclose(T, base_pose(4), atol=1e-6)


def test_the_right_camera_is_where_its_own_calibration_says(shared_dir):
    """By P_rect_01 as the converter has it, against calib_cam_to_pose and R_rect_01."""
    calibration = Calibration(shared_dir / "data/kitti360/calibration")
    links = {link.child: link.T for link in calibration.links()}
    right = links["perspective_left_optical"] @ links["perspective_right_optical"]
    R = np.eye(4)
    R[:3, :3] = calibration.matrix("R_rect_01", (3, 3)).T
    expected = calibration.T_velodyne_pose @ calibration.T_pose_camera("01") @ R
    np.testing.assert_allclose(right, expected, atol=2e-6)
    # Published: the left camera is 0.30 m left of the scanner, 0.80 m in front of it.
    left = links["perspective_left_optical"][:3, 3]
    np.testing.assert_allclose(left, (0.8044, 0.2993, -0.1770), atol=1e-4)


@pytest.mark.parametrize(
    ("number", "focal", "D"),
    [
        ("02", 415.895, (-0.010092, 0.010382, -0.002415, -0.000296)),
        ("03", 418.109, (-0.023684, 0.024319, -0.006996, 0.000050)),
    ],
)
def test_the_equidistant_fit_is_the_published_one(shared_dir, number, focal, D):
    path = shared_dir / f"data/kitti360/calibration/image_{number}.yaml"
    fit = equidistant(path)
    assert fit.K[0, 0] == pytest.approx(focal, abs=2e-3)
    np.testing.assert_allclose(fit.D, D, atol=3e-5)
    assert radial_error_px(path, fit) < 0.1


def radial_error_px(path, fit):
    import yaml

    values = yaml.safe_load(path.read_text().split("\n", 1)[1])
    lens = values["distortion_parameters"]
    angle = np.deg2rad(np.arange(0, 95.5, 0.5))
    r = np.sin(angle) / (np.cos(angle) + values["mirror_parameters"]["xi"])
    exact = (
        values["projection_parameters"]["gamma1"] * r * (1 + lens["k1"] * r**2 + lens["k2"] * r**4)
    )
    powers = sum(d * angle ** (2 * n + 3) for n, d in enumerate(fit.D))
    return np.abs(fit.K[0, 0] * (angle + powers) - exact).max()


def test_fisheyes_say_their_model_and_keep_the_exact_one(bag):
    info = bag.messages("/fisheye/left/camera_info")[0]
    assert info.distortion_model == "equidistant"
    assert len(info.d) == 4
    assert info.k[8] == 1
    assert bag.messages("/fisheye/left/mei_calibration")[0].data == MEI
    T = bag.transforms.fixed("base_link", "fisheye_left_optical")
    assert T[1, 2] > 0.99  # the left fisheye looks to the left


def test_sscbench_is_renumbered_and_labels_beat_invalid(frames, tmp_path):
    tree = write_kitti360(tmp_path / "sscbench", frames, sscbench=True)
    scenes = find_drives(tree, match_list=find_match_list(tree))
    name = f"sscbench_{DRIVE}"
    assert convert_all(scenes, tmp_path / "out")[name].problems == []
    opened = Opened(tmp_path / "out" / name)
    stamps = opened.stamps("/perspective/left/image_rect/compressed")
    assert stamps == [START_NS + i * PERIOD_NS for i in (0, 1, 4, 5)]
    messages = opened.messages("/ground_truth/voxels")
    assert [stamp_of(m) for m in messages] == [stamps[0], stamps[3]]
    voxels = frames[5].voxels
    labels = messages[1].labels.reshape(GRID.shape)
    expected = training_voxels(voxels.labels, voxels.invalid, SSCBENCH_SCHEME)
    np.testing.assert_array_equal(labels, expected)
    assert labels[30, 40, 5] == 18  # an object is a class of its own here
    assert labels[31, 40, 5] == 255  # a trunk is none
    assert (labels[(voxels.labels == 40) & voxels.invalid] == 7).all()
    T = opened.transforms.at("map", "base_link", stamps[3], 0)
    np.testing.assert_allclose(T, base_pose(5), atol=1e-6)


def test_sscbench_without_times_says_where_they_are(frames, tmp_path):
    tree = write_kitti360(tmp_path / "sscbench", frames, sscbench=True)
    for path in tree.rglob("timestamps.txt"):
        path.unlink()
    scenes = find_drives(tree, match_list=find_match_list(tree))
    (report,) = convert_all(scenes, tmp_path / "out").values()
    assert report.failed
    assert "KITTI-360's data_2d_raw" in report.problems[0]


def test_the_real_match_list(shared_dir):
    matches = read_match_list(shared_dir / "data/kitti360/sscbench/kitti_360_match.txt")
    assert sum(map(len, matches.values())) == 64_309
    assert matches["2013_05_28_drive_0000_sync"][1] == 14


def test_a_folder_without_drives(tmp_path):
    with pytest.raises(DatasetError, match="has no drive of KITTI-360"):
        find_drives(Path(tmp_path))
