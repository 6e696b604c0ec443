"""World tests 3 and 5, textures, and the torch twin."""

import numpy as np
import pytest
from training.world.warp import bilinear

from occ_training.world.arrays import torch_backend
from occ_training.world.classes import Class
from occ_training.world.config import WorldConfig
from occ_training.world.flow import optical_flow
from occ_training.world.render import render_camera
from occ_training.world.scene import build_scene


def grey(render):
    return render.rgb.astype(np.float64).mean(-1)


def inner(mask):
    """Pixels whose neighbours are in the mask as well: away from outlines."""
    out = mask.copy()
    for axis in (0, 1):
        for shift in (-1, 1):
            out &= np.roll(mask, shift, axis)
    return out


def smooth_depth(render):
    """Pixels away from a depth edge, where warping is defined."""
    inverse_depth = 1.0 / render.depth_m
    flat = np.ones(inverse_depth.shape, dtype=bool)
    for axis in (0, 1):
        for shift in (-1, 1):
            flat &= np.abs(np.roll(inverse_depth, shift, axis) - inverse_depth) < 0.02
    return flat & inner(render.surface)


@pytest.fixture(scope="module")
def stereo():
    scene = build_scene(WorldConfig("kitti", "small", 1001, movers=True))
    left, right = (render_camera(scene, scene.rig.camera(n), 0.1) for n in ("image_2", "image_3"))
    return scene, left, right


def test_right_image_warped_by_true_disparity_is_the_left(stereo):
    scene, left, right = stereo
    flow = optical_flow(scene, left, right)
    v, u = np.nonzero(flow.visible & smooth_depth(left))
    forward = np.stack((u, v), -1) + flow.uv[v, u]
    error = np.abs(bilinear(grey(right), forward) - grey(left)[v, u])
    assert len(v) > 40_000
    assert error.mean() < 4.0
    # A wrong sign of the baseline must be noticed.
    mirrored = np.stack((u, v), -1) - flow.uv[v, u]
    near = left.depth_m[v, u] < 15
    wrong = np.abs(bilinear(grey(right), mirrored) - grey(left)[v, u])
    assert wrong[near].mean() > 12.0 > 2.5 * error[near].mean()


def test_left_is_left(stereo):
    """Nearer things lie further left in the right image, by f b / z."""
    scene, left, right = stereo
    flow = optical_flow(scene, left, right)
    v, u = np.nonzero(flow.valid)
    f = left.camera.lens.K[0, 0]
    baseline = np.linalg.norm((left.T_world_cam - right.T_world_cam)[:3, 3])
    assert baseline == pytest.approx(0.5354, abs=1e-3)
    shift = -flow.uv[v, u, 0] * left.depth_m[v, u] / f
    assert np.median(shift) == pytest.approx(0.5354, abs=2e-3)


def test_traffic_keeps_to_the_right(kitti):
    ego = kitti.bodies.moves[0]
    assert ego.offset_m < 0
    half = kitti.ground.strips[0].half_m
    for move in kitti.bodies.moves:
        if hasattr(move, "line") and move.line is ego.line and abs(move.offset_m) < half:
            assert move.offset_m * move.forward < 0


def test_next_picture_warped_by_flow_is_this_one():
    scene = build_scene(WorldConfig("kitti", "small", 1002, movers=True))
    camera = scene.rig.camera("image_2")
    now, later = (render_camera(scene, camera, t) for t in (0.1, 0.2038))
    for source, target in ((now, later), (later, now)):
        flow = optical_flow(scene, source, target)
        v, u = np.nonzero(flow.visible & smooth_depth(source))
        goal = np.stack((u, v), -1) + flow.uv[v, u]
        error = np.abs(bilinear(grey(target), goal) - grey(source)[v, u])
        still = np.abs(grey(target)[v, u] - grey(source)[v, u])
        # Shadows of movers travel over the ground: the median is the honest middle.
        assert np.median(error) < 4.0
        moving = source.body[v, u] > 0
        assert moving.sum() > 200
        assert error[moving].mean() < 0.75 * still[moving].mean()


def test_textures_give_gradients_everywhere():
    """Of 8 x 8 patches off the sky, nine in ten vary by more than 2 of 255."""
    scene = build_scene(WorldConfig("kitti360", "small", 1003, noise=False))
    picture = render_camera(scene, scene.rig.camera("image_00"), 0.0)
    assert picture.rgb.shape == (192, 640, 3)
    blocks = grey(picture).reshape(24, 8, 80, 8).swapaxes(1, 2).reshape(-1, 64)
    sky = (picture.class_id == Class.SKY).reshape(24, 8, 80, 8).swapaxes(1, 2).reshape(-1, 64)
    ground = ~sky.any(1)
    assert (blocks[ground].std(1) > 2.0).mean() > 0.9


def test_two_views_see_the_same_point_in_the_same_grey():
    scene = build_scene(WorldConfig("kitti", "small", 1001, movers=False, noise=False))
    camera = scene.rig.camera("image_2")
    near, far = (render_camera(scene, camera, t) for t in (0.0, 0.1038))
    flow = optical_flow(scene, near, far)
    v, u = np.nonzero(flow.visible & smooth_depth(near) & (near.depth_m < 20))
    goal = np.stack((u, v), -1) + flow.uv[v, u]
    difference = np.abs(bilinear(grey(far), goal) - grey(near)[v, u])
    assert np.median(difference) < 3.0


def test_specular_windows_break_that_on_purpose():
    plain, shiny = (
        build_scene(WorldConfig("kitti", "tiny", 1001, noise=False, specular=s))
        for s in (False, True)
    )
    camera = plain.rig.camera("image_2")
    a, b = (render_camera(s, camera, 0.0).rgb for s in (plain, shiny))
    assert (a != b).any()


def test_depth_and_distance_differ_as_they_should(stereo):
    _, left, _ = stereo
    v, u = np.nonzero(left.surface)
    ray, _ = left.camera.lens.rays(np.stack((u, v), -1).astype(float))
    assert np.allclose(left.depth_m[v, u], left.distance_m[v, u] * ray[:, 2], rtol=1e-5)
    assert (left.distance_m[v, u] >= left.depth_m[v, u]).all()
    assert np.isinf(left.depth_m[left.class_id == Class.SKY]).all()


def test_ego_car_shows_in_the_cameras_that_see_it(nuscenes):
    for name in ("CAM_BACK", "CAM_FRONT"):
        camera = nuscenes.rig.camera(name)
        picture = render_camera(nuscenes, camera, camera.delay_s, colour=False)
        bonnet = picture.class_id == Class.EGO
        assert 0.002 < bonnet.mean() < 0.35
        assert not picture.surface[bonnet].any()
        assert np.nonzero(bonnet)[0].min() > 32  # at the bottom of the image


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_torch_twin_agrees_with_the_reference(kitti, device):
    camera = kitti.rig.camera("image_2")
    reference = render_camera(kitti, camera, 0.2)
    twin = render_camera(kitti, camera, 0.2, backend=torch_backend(device))
    same = reference.class_id == twin.class_id
    assert same.mean() > 0.9999
    finite = same & np.isfinite(reference.depth_m)
    gap = np.abs(reference.depth_m[finite] - twin.depth_m[finite])
    assert np.quantile(gap, 0.9999) < 1e-3
    colour = np.abs(reference.rgb.astype(int) - twin.rgb.astype(int)).max(-1)
    assert (colour <= 1).mean() > 0.999
