import numpy as np
import pytest

from occ_perception.core.errors import BagError, CalibrationError
from occ_perception.systems.roles import SURROUND_CAMERAS
from occ_training.data.bag_scene import Bags
from occ_training.data.surround import SurroundDrive, SurroundDrives, SurroundSpec

SPEC = SurroundSpec(
    SURROUND_CAMERAS,
    maps={"classes": "/ground_truth/{camera}/semantic/compressed"},
    layers={"voxels": "/ground_truth/voxels"},
)


@pytest.fixture(scope="module")
def drive(surround_bag):
    return SurroundDrive(Bags(surround_bag), SPEC)


def test_cameras_stand_where_they_are_mounted_but_earlier(drive):
    T_ego_cam = np.linalg.inv(drive.T_world_ego(1)) @ drive.T_world_cam(1)
    mounted = np.stack([view.frame.camera.T_base_cam for view in drive.views(1)])
    lag = (T_ego_cam - mounted)[:, :2, 3]
    assert np.abs(T_ego_cam[:, :3, :3] - mounted[:, :3, :3]).max() < 0.01
    front, back_left = SURROUND_CAMERAS.index("CAM_FRONT"), SURROUND_CAMERAS.index("CAM_BACK_LEFT")
    assert lag[front, 0] < -0.05  # exposed 35 ms before the scan, in a car that drives on
    assert np.abs(lag[back_left]).max() < 0.02  # half a millisecond


def test_everything_of_a_key_frame_has_one_entry_per_camera(drive):
    assert len(drive) == 2 and not drive.dropped
    assert drive.K(0).shape == (6, 3, 3) and drive.sizes(0) == [(176, 64)] * 6
    assert [values.shape for values in drive.maps("classes", 0)] == [(64, 176)] * 6
    assert drive.layer("voxels", 0).labels.shape == (200, 200, 16)
    names = [view.frame.camera.name for view in drive.views(0)]
    assert all(role.lower() in name for role, name in zip(SURROUND_CAMERAS, names, strict=True))


def test_neighbours_end_with_the_drive(drive):
    assert drive.neighbours(0, range(-2, 3)) == [None, None, 0, 1, None]
    assert drive.past(1, 3) == [0, 0, 0] and drive.past(0, 2) == [0, 0]


def test_a_drive_that_keeps_reads_once(surround_bag):
    from dataclasses import replace

    keeping = SurroundDrive(Bags(surround_bag), replace(SPEC, keeps=True))
    assert keeping.views(0) is keeping.views(0)
    forgetful = SurroundDrive(Bags(surround_bag), SPEC)
    assert forgetful.views(0) is not forgetful.views(0)


def test_randomness_hangs_on_seed_epoch_and_sample_only(surround_bag):
    drives, again = (SurroundDrives([surround_bag], SPEC, seed=3) for _ in range(2))
    first = drives.random(1).rand()
    assert again.random(1).rand() == first != drives.random(0).rand()
    drives.set_epoch(1)
    assert drives.random(1).rand() != first


def test_samples_are_key_frames_of_drives(surround_bag):
    drives = SurroundDrives([surround_bag], SPEC)
    assert len(drives) == 2 and drives.place_of(1) == (drives.scenes[0], 1)
    with pytest.raises(IndexError):
        drives.place_of(2)


def test_what_is_missing_is_named(surround_bag):
    with pytest.raises(CalibrationError, match="0 calibrated image topics of CAM_ROOF"):
        SurroundDrive(Bags(surround_bag), SurroundSpec(("CAM_ROOF",)))
    spec = SurroundSpec(SURROUND_CAMERAS, maps={"depth": "/labels/{camera}/depth"})
    with pytest.raises(BagError, match="label layer /labels/cam_front_left/depth"):
        SurroundDrive(Bags(surround_bag), spec)
    homeless = SurroundDrive(Bags(surround_bag), SurroundSpec(SURROUND_CAMERAS, world_frame=""))
    with pytest.raises(BagError, match="no poses"):
        homeless.T_world_ego(0)


def test_a_drive_without_scanner_takes_the_first_cameras_time(surround_bag):
    drive = SurroundDrive(Bags(surround_bag), SurroundSpec(SURROUND_CAMERAS, reference=""))
    scanned = SurroundDrive(Bags(surround_bag), SurroundSpec(SURROUND_CAMERAS))
    assert scanned.stamp_ns(0) - drive.stamp_ns(0) == pytest.approx(43_100_000, abs=1000)
