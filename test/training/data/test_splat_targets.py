"""Targets of GaussianFlowOcc: steps, label pictures, cameras."""

import numpy as np
import torch

from occ_training.data.splat_targets import draw_steps, fit_labels, rendering_cameras


def test_the_current_frame_is_last_and_strangers_are_never_drawn():
    valid = [False, True, True, True, False, True, True]
    drawn = {tuple(draw_steps(valid, 3, np.random.RandomState(s))) for s in range(30)}
    assert all(steps[-1] == 3 and len(set(steps)) == 4 for steps in drawn)
    assert {i for steps in drawn for i in steps} == {1, 2, 3, 5, 6}
    assert draw_steps([True, True, False], 6, np.random.RandomState(0)) == [0, 1]


def test_what_is_too_far_has_neither_depth_nor_class():
    classes = torch.full((1, 20, 40), 7, dtype=torch.uint8)
    depth = torch.full((1, 20, 40), 10.0)
    depth[:, :, 20:] = 60.0
    fitted = fit_labels(classes, depth, 0.5, crop_top=4)
    assert fitted.classes.shape == (1, 6, 20)
    assert fitted.classes.dtype == torch.uint8
    assert (fitted.classes[0, :, :9] == 7).all()
    assert (fitted.depth_m[0, :, :9] == 10).all()
    assert not fitted.classes[0, :, 11:].any()
    assert not fitted.depth_m[0, :, 11:].any()


def test_cameras_see_what_the_labels_show():
    K, pose = np.array([[100.0, 0, 80], [0, 100, 45], [0, 0, 1]]), np.eye(4)
    pose[:3, 3] = [1.0, 2.0, 3.0]
    cameras = rendering_cameras([K], [pose], 0.5, crop_top=4, size=(18, 40))
    assert cameras.K[0].tolist() == [[50.0, 0, 40], [0, 50, 18.5], [0, 0, 1]]
    assert cameras.T_cam_world[0, :3, 3].tolist() == [-1, -2, -3]
    assert (cameras.width, cameras.height) == (40, 18)
