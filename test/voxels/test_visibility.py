"""The mask of voxels that a camera sees."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from occ_perception.core.camera import Camera
from occ_perception.core.grid import GridSpec
from occ_perception.geometry.projection import project, visible
from occ_perception.geometry.transforms import R_BODY_OPTICAL
from occ_perception.voxels.visibility import voxels_in_view

GRID = GridSpec((-2.0, -4.0, -1.0), (1.0, 1.0, 1.0), (8, 8, 2), "base_link")


def forward_camera(shift_left_m: float = 0.0) -> Camera:
    pose = np.eye(4)
    pose[:3, :3] = R_BODY_OPTICAL
    pose[1, 3] = shift_left_m
    P = np.array([[49.0, 0, 49.5, 0], [0, 49, 49.5, 0], [0, 0, 1, 0]])
    return Camera("front", P, 100, 100, pose)


def test_a_forward_camera_sees_a_wedge_in_front_and_nothing_behind():
    mask = voxels_in_view(GRID, forward_camera())
    assert not mask[:2].any()  # x < 0
    # 45.6 degrees to each side: at x = 3.5 m all |y| <= 3.5 m
    assert mask[5, :, 0].tolist() == [True] * 8
    # at x = 1.5 m only |y| <= 1.5 m
    assert mask[3, :, 0].tolist() == [False, False, True, True, True, True, False, False]


def test_a_camera_moved_to_the_left_sees_more_of_the_left():
    mask = voxels_in_view(GRID, forward_camera(shift_left_m=2.0))[3, :, 0]
    assert mask[7]
    assert not mask[:3].any()


@pytest.mark.parametrize("seed", range(4))
def test_the_mask_is_what_projecting_every_centre_gives(seed):
    """Whatever the pose: only centres on the very edge may fall on either side of it."""
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    pose[:3, :3] *= np.sign(np.linalg.det(pose[:3, :3]))
    pose[:3, 3] = rng.uniform(-2, 2, 3)
    camera = replace(forward_camera(), T_base_cam=pose, width=80)
    grid = GridSpec((-5.0, -6.0, -4.0), (0.13, 0.17, 0.19), (70, 60, 40), "base_link")
    P = torch.from_numpy(camera.P @ np.linalg.inv(pose)).float()
    expected = visible(*project(grid.centers(), P), 80, 100, 0.1)
    mask = voxels_in_view(grid, camera)
    assert expected.any() and not expected.all()
    assert (mask != expected).sum() < 5


def test_the_mask_of_semantickitti_is_reproduced(shared_dir):
    """The published mask was made with K alone, without camera 2's offset from camera 0."""
    lines = dict(
        line.split(":", 1)
        for line in (shared_dir / "data/kitti_odometry/calib/04/calib.txt").read_text().splitlines()
        if ":" in line
    )
    P2, Tr = (np.array(lines[key].split(), float).reshape(3, 4) for key in ("P2", "Tr"))
    T_cam_velo = np.vstack([Tr, [0, 0, 0, 1]])
    camera = Camera("left", P2 * [1, 1, 1, 0], 1220, 370, np.linalg.inv(T_cam_velo))
    grid = GridSpec((0.0, -25.6, -2.0), (0.2, 0.2, 0.2), (256, 256, 32), "velodyne")
    published = np.load(shared_dir / "data/semantickitti_fov/fov_mask_1.npy").reshape(grid.shape)
    agreement = (voxels_in_view(grid, camera).numpy() == published).mean()
    assert agreement > 0.99999
