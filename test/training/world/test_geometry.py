"""World test 4 and the rays: lenses, rigs, kernels, ground, tiles against brute force."""

import math
from dataclasses import replace

import numpy as np
import pytest
from training.world.warp import bilinear

from occ_perception.geometry.transforms import inverse, rotation_rpy
from occ_training.world import intersect, raycast
from occ_training.world.config import WorldConfig
from occ_training.world.ground_hit import hit_ground
from occ_training.world.lenses import Pinhole
from occ_training.world.raycast import SKY, Rays
from occ_training.world.render import render_camera
from occ_training.world.rigs import build_rig, kitti360_pose_in_base
from occ_training.world.road import CenterLine
from occ_training.world.scene import build_scene
from occ_training.world.tiling import lens_tiles
from occ_training.world.view import cast_rays


@pytest.mark.parametrize("name", ["image_02", "image_03"])
def test_fisheye_projects_back_onto_the_pixel(name):
    lens = build_rig("kitti360", "full").camera(name).lens
    v, u = np.meshgrid(np.arange(0, 1400, 13.0), np.arange(0, 1400, 13.0), indexing="ij")
    uv = np.stack((u, v), -1)
    rays, seen = lens.rays(uv)
    again, _ = lens.project(3.7 * rays)
    assert 0.6 < seen.mean() < 0.85
    assert np.abs(again - uv)[seen].max() < 1e-6
    assert np.allclose(np.linalg.norm(rays, axis=-1), 1.0)


def test_fisheye_has_the_measured_scale_near_the_axis():
    """416 and 418 pixels per radian; the 90 degree circle has a radius of 647 pixels."""
    for name, scale in (("image_02", 416), ("image_03", 418)):
        lens = build_rig("kitti360", "full").camera(name).lens
        centre, _ = lens.project(np.array([0.0, 0.0, 1.0]))
        small, _ = lens.project(np.array([math.sin(0.01), 0.0, math.cos(0.01)]))
        side, _ = lens.project(np.array([1.0, 0.0, 0.0]))
        assert np.hypot(*(small - centre)) / 0.01 == pytest.approx(scale, abs=1.5)
        assert np.hypot(*(side - centre)) == pytest.approx(647, abs=6)


def test_pinhole_cut_from_the_fisheye_agrees_with_a_pinhole_camera():
    """A window of the fisheye against a pinhole camera of the same axis and scale."""
    scene = build_scene(WorldConfig("kitti360", "full", 1002, movers=False, noise=False))
    camera = scene.rig.camera("image_02")
    lens = Pinhole(np.array([[416.0, 0, 63.6], [0, 417.2, 47.7], [0, 0, 1]]), 128, 96)
    K = camera.lens.K - np.array([[0, 0, 640], [0, 0, 650], [0, 0, 0]])
    window = replace(camera.lens, K=K, width=160, height=130)
    fish, direct = (
        render_camera(scene, replace(camera, lens=each), 0.1).rgb.mean(-1)
        for each in (window, lens)
    )
    u, v = (np.arange(n).repeat(2) + np.tile((-0.25, 0.25), n) for n in (128, 96))
    rays, _ = lens.rays(np.stack(np.meshgrid(u, v), -1))
    uv, seen = window.project(rays)
    assert seen.all()
    # Interpolation blurs single pixels; the mean of 4 x 4 is what both agree on.
    cut = bilinear(fish, uv).reshape(24, 8, 32, 8).mean((1, 3))
    whole = direct.reshape(24, 4, 32, 4).mean((1, 3))
    assert (np.abs(cut - whole) < 3.0).mean() > 0.95
    assert (np.abs(cut[:, ::-1] - whole) < 3.0).mean() < 0.4


def test_kitti_cameras_stand_where_the_calibration_says():
    rig = build_rig("kitti", "full")
    T_cam0_cam2 = inverse(rig.camera("image_0").T_base_cam) @ rig.camera("image_2").T_base_cam
    T_cam0_cam3 = inverse(rig.camera("image_0").T_base_cam) @ rig.camera("image_3").T_base_cam
    assert np.allclose(T_cam0_cam2[:3, 3], (-0.0610, 0.0014, -0.0062), atol=6e-4)
    assert np.allclose(T_cam0_cam3[:3, 3], (0.4744, -0.0019, -0.0033), atol=6e-4)
    T_velo_cam0 = inverse(rig.T_base_grid) @ rig.camera("image_0").T_base_cam
    assert np.allclose(T_velo_cam0[:3, 3], (0.3335, -0.0048, -0.0756), atol=1e-3)


def test_kitti_published_matrix_and_trigonometry_give_the_same_pixel():
    """The projection written twice: P2 Tr x, and angles seen from the camera's centre."""
    rig = build_rig("kitti", "full")
    camera = rig.camera("image_2")
    point = np.array([12.3, -4.5, 1.1, 1.0])  # velodyne frame
    T_cam0_velo = inverse(rig.camera("image_0").T_base_cam) @ rig.T_base_grid
    uvw = camera.P @ T_cam0_velo @ point
    local = (inverse(camera.T_base_cam) @ rig.T_base_grid @ point)[:3]
    right, down = math.atan2(local[0], local[2]), math.atan2(local[1], local[2])
    u = 601.8873 + 707.0912 * math.tan(right)
    v = 183.1104 + 707.0912 * math.tan(down)
    assert np.allclose(uvw[:2] / uvw[2], (u, v), atol=1e-6)
    projected, inside = camera.lens.project(local)
    assert inside
    tiny = build_rig("kitti", "tiny").camera("image_2")
    small = tiny.projection @ T_cam0_velo @ point
    assert np.allclose(small[:2] / small[2], tiny.lens.project(local)[0], atol=1e-6)
    assert np.allclose(projected, (u, v), atol=1e-6)


def test_kitti360_velodyne_axes_are_turned_half_round_against_the_pose_frame():
    T_pose_base = inverse(kitti360_pose_in_base())
    velodyne = T_pose_base @ np.array([0, 0, 1.73, 1.0])
    assert np.allclose(velodyne[:3], (0.7710, 0.2985, -0.8363), atol=2e-3)
    assert np.allclose(np.diag(T_pose_base[:3, :3]), (1, -1, -1), atol=2e-3)


def test_every_rig_looks_the_right_way():
    for name, looks in {
        "kitti360": {"image_02": (0, 1), "image_03": (0, -1), "image_00": (1, 0)},
        "nuscenes": {"CAM_FRONT": (1, 0), "CAM_BACK": (-1, 0)},
    }.items():
        rig = build_rig(name, "tiny")
        for camera, axis in looks.items():
            assert rig.camera(camera).T_base_cam[:2, 2] @ np.array(axis) > 0.95
    left = build_rig("nuscenes", "tiny").camera("CAM_FRONT_LEFT")
    assert left.T_base_cam[1, 2] > 0.7
    assert left.T_base_cam[1, 3] > 0.4


@pytest.mark.parametrize("name", ["box", "cylinder", "ellipsoid", "cone"])
def test_kernels_hit_where_marching_does(name):
    rng = np.random.default_rng(3)
    half = (0.8, 0.5, 1.1) if name in ("box", "ellipsoid") else (0.7, 0.7, 1.1)
    o = tuple(rng.uniform(-3, 3, 400) for _ in range(3))
    aim = rng.uniform(-0.8, 0.8, (3, 400))
    d = np.stack([a - c for a, c in zip(aim, o, strict=True)])
    d = tuple(d / np.linalg.norm(d, axis=0))
    t = getattr(intersect, name)(o, d, half)
    steps = np.arange(0.0005, 9.0, 0.001)[:, None]
    x, y, z = (c + steps * e for c, e in zip(o, d, strict=True))
    inside = {
        "box": (abs(x) < half[0]) & (abs(y) < half[1]) & (abs(z) < half[2]),
        "cylinder": (np.hypot(x, y) < half[0]) & (abs(z) < half[2]),
        "ellipsoid": (x / half[0]) ** 2 + (y / half[1]) ** 2 + (z / half[2]) ** 2 < 1,
        "cone": (np.hypot(x, y) < half[0] * (half[2] - z) / (2 * half[2])) & (abs(z) < half[2]),
    }[name]
    outside = ~inside[0]
    marched = np.where(inside.any(0), steps[inside.argmax(0), 0], np.inf)
    grazing = np.isfinite(t) != np.isfinite(marched)
    assert grazing[outside].mean() < 0.01
    both = outside & np.isfinite(t) & np.isfinite(marched)
    assert both.sum() > 150
    assert np.abs(t[both] - marched[both]).max() < 2e-3


def test_tiles_and_waves_find_what_testing_everything_finds(kitti):
    camera = kitti.rig.camera("image_2")
    T = kitti.pose(0.3) @ camera.T_base_cam
    prims = kitti.snapshot(0.3, T[:3, 3], 60.0)
    tiles = lens_tiles(camera.lens)
    some = slice(None, None, 41)
    world = tiles.ray[some] @ T[:3, :3].T
    rays = Rays(
        tuple(T[None, i, 3:4] for i in range(3)),
        tuple(np.ascontiguousarray(world[..., i]) for i in range(3)),
    )
    distance, target = cast_rays(kitti.ground, prims, kitti.looks.holes, rays)
    count = rays.tiles
    everything = raycast.Pairs(
        np.repeat(np.arange(count), len(prims)),
        np.tile(np.arange(len(prims)), count),
        np.zeros(count * len(prims), dtype=np.float32),
    )
    best, raised = hit_ground(kitti.ground, rays.origin, rays.direction, 400.0)
    who = np.where(best < np.inf, np.where(raised, raycast.RAISED, raycast.ROAD), SKY)
    raycast.nearest_hit(prims, kitti.looks.holes, rays, everything, best, who)
    assert np.array_equal(distance, best)
    assert (target == who).mean() > 0.9999
    assert (target >= 0).sum() > 200


def test_rays_end_on_the_ground_they_hit(kitti):
    camera = kitti.rig.camera("image_2")
    T = kitti.pose(0.0) @ camera.T_base_cam
    rays = lens_tiles(camera.lens).ray.reshape(-1, 3) @ T[:3, :3].T
    origin = tuple(np.full((1,), T[i, 3]) for i in range(3))
    d = tuple(np.ascontiguousarray(rays[:, i]) for i in range(3))
    t, raised = hit_ground(kitti.ground, origin, d, 400.0)
    hit = t < 60
    x, y, z = (origin[i] + t[hit] * d[i][hit] for i in range(3))
    height, top = kitti.ground.height(x, y)
    same_layer = top == raised[hit]
    assert same_layer.mean() > 0.9  # the rest meets the step of a kerb
    assert np.quantile(np.abs(z - height)[same_layer], 0.995) < 6e-3
    # And nothing of the ground lies in front of the hit.
    before = 0.97 * t[hit]
    x, y, z = (origin[i] + before * d[i][hit] for i in range(3))
    assert (z > kitti.ground.height(x, y)[0] - 1e-3)[same_layer].mean() > 0.995


def test_station_and_lateral_undo_point():
    line = CenterLine((3.0, -7.0), 0.8, 40.0, -1 / 45.0, 30.0)
    s, d = np.meshgrid(np.linspace(-20, 120, 57), np.linspace(-12, 12, 9))
    x, y, heading = line.point(s, d)
    assert np.allclose(line.station(x, y), s, atol=1e-9)
    assert np.allclose(line.lateral(x, y), d, atol=1e-9)
    ahead = line.point(s + 1e-5, d)
    direction = np.arctan2(ahead[1] - y, ahead[0] - x)
    assert np.allclose(direction, heading, atol=1e-3)


def test_trajectory_is_continuous_and_sways(kitti):
    t = np.arange(0.0, 0.6, 0.001)
    T = kitti.pose(t)
    step = np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1) / 0.001
    assert 3.0 < step.min() < step.max() < 15.0
    assert np.abs(np.diff(step)).max() < 0.2
    roll = np.arctan2(T[:, 2, 1], T[:, 2, 2])
    assert roll.std() > 1e-3
    level = rotation_rpy(0.0, 0.0, 0.0)
    assert not np.allclose(T[0, :3, :3], level)
