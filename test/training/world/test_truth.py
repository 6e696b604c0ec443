"""World tests 1, 2 and 6: pictures, sweeps and voxels tell the same story."""

import numpy as np
import pytest

from occ_perception.core.grid import GridSpec
from occ_perception.geometry.transforms import inverse
from occ_training.world.annotations import instance_boxes
from occ_training.world.classes import IGNORED, Class
from occ_training.world.config import WorldConfig
from occ_training.world.flow import instance_motion, voxel_flow
from occ_training.world.frames import Parts, make_frame
from occ_training.world.lidar import sweep_lidar
from occ_training.world.masks import camera_mask, entered_by_beams, grid_points, surface_points
from occ_training.world.raycast import Rays
from occ_training.world.render import render_camera
from occ_training.world.rigs import OCC3D_GRID, SEMANTICKITTI_GRID
from occ_training.world.scene import MARKED_CUBE_M, build_scene
from occ_training.world.sensed import Mapper, Mapping
from occ_training.world.view import cast_rays
from occ_training.world.voxels import exact_truth, vote


def neighbourhood(volume, index, test):
    """Whether a voxel or one of its 26 neighbours passes a test."""
    out = np.zeros(len(index), dtype=bool)
    for step in np.ndindex(3, 3, 3):
        near = (index + np.array(step) - 1).clip(0, np.array(volume.shape) - 1)
        out |= test(volume[tuple(near.T)])
    return out


def test_surface_pixels_land_in_occupied_voxels_of_their_class(kitti, kitti_frames):
    frame = kitti_frames[0]
    truth, grid = frame.voxels.exact.labels, kitti.rig.grid
    for picture in frame.pictures.values():
        v, u = np.nonzero(picture.surface)
        points = grid_points(frame.voxels.T_world_grid, surface_points(picture))
        index, inside = grid.index_of(points)
        use = inside & (picture.depth_m[v, u] < 40) & (picture.body[v, u] == 0)
        index, class_id = index[use], picture.class_id[v, u][use]
        assert use.sum() > 10_000
        assert neighbourhood(truth, index, lambda found: found > 0).mean() > 0.99
        same = neighbourhood(truth, index, class_id.__eq__)
        assert same.mean() > 0.97


def test_lidar_points_lie_on_surfaces(kitti):
    sweep = sweep_lidar(kitti, kitti.rig.lidar, 0.2)
    clean = sweep_lidar(kitti, kitti.rig.lidar, 0.2, clean=True)
    lidar = kitti.rig.lidar
    assert 0.95 < len(sweep.points) / len(clean.points) < 0.99
    key = {tuple(k): i for i, k in enumerate(zip(clean.ring, clean.offset_s, strict=True))}
    rows = np.array([key[tuple(k)] for k in zip(sweep.ring, sweep.offset_s, strict=True)])
    off = np.linalg.norm(sweep.points, axis=1) - np.linalg.norm(clean.points[rows], axis=1)
    assert off.std() == pytest.approx(lidar.noise_m, rel=0.05)
    assert (np.abs(off) < 3 * lidar.noise_m).mean() > 0.995
    assert not (clean.class_id == Class.EGO).any()


def test_lidar_points_meet_the_rendered_depth(kitti):
    camera = kitti.rig.camera("image_2")
    sweep = sweep_lidar(kitti, kitti.rig.lidar, 0.2, instant=True, clean=True)
    picture = render_camera(kitti, camera, 0.2, colour=False)
    local = (np.c_[sweep.world, np.ones(len(sweep.world))] @ inverse(picture.T_world_cam).T)[:, :3]
    uv, inside = camera.lens.project(local)
    near = inside & (local[:, 2] < 30)
    u, v = np.rint(uv[near]).astype(int).T
    # A pixel of a small image is decimetres wide on the ground: compare with its neighbours.
    bottom, right = np.array(picture.depth_m.shape) - 1
    depth = np.stack([
        picture.depth_m[(v + j).clip(0, bottom), (u + i).clip(0, right)]
        for i in (-1, 0, 1) for j in (-1, 0, 1)
    ])  # fmt: skip
    z = local[near, 2]
    assert near.sum() > 3000
    assert ((z > depth.min(0) - 0.05) & (z < depth.max(0) + 0.05)).mean() > 0.95
    assert (picture.class_id[v, u] == sweep.class_id[near]).mean() > 0.9


def test_columns_have_their_own_time(kitti):
    """Correcting by the own poses puts the points where a sweep without motion has them."""
    moving = sweep_lidar(kitti, kitti.rig.lidar, 0.2, clean=True)
    assert moving.offset_s.min() < -0.049
    assert moving.offset_s.max() > 0.049
    raw = np.linalg.norm(moving.points - moving.corrected, axis=1)
    assert raw.max() > 0.2  # 5 m/s or more, 50 ms
    forward = np.abs(moving.offset_s) < 5e-4
    assert raw[forward].max() < 0.02


def test_moving_bodies_are_scanned_where_they_are_at_the_column(kitti):
    sweep = sweep_lidar(kitti, kitti.rig.lidar, 0.2, clean=True)
    rows = np.flatnonzero(sweep.body > 0)
    assert len(rows) > 30
    prims = kitti.without_ego
    for body in np.unique(sweep.body[rows]):
        mine = rows[sweep.body[rows] == body]
        T = kitti.bodies.pose(int(body), 0.2 + sweep.offset_s[mine].astype(float))
        local = np.einsum("nji,nj->ni", T[:, :3, :3], sweep.world[mine] - T[:, :3, 3])
        part = prims.take(prims.body == body)
        q = np.einsum("pji,npj->npi", part.rotation, local[:, None] - part.center)
        outside = np.linalg.norm(np.maximum(np.abs(q) - part.half, 0.0), axis=-1).min(1)
        assert outside.max() < 2e-3


@pytest.mark.parametrize("grid", [SEMANTICKITTI_GRID, OCC3D_GRID])
@pytest.mark.parametrize("rig", ["kitti", "nuscenes"])
def test_marked_cube_lies_where_it_was_put(grid, rig):
    scene = build_scene(WorldConfig(rig, "tiny", 5, marked_cube=True))
    if scene.rig.grid != grid:
        pytest.skip("the cube stands in the rig's own grid")
    truth = exact_truth(scene, 0.0)
    cube = np.argwhere(truth.labels == Class.CAR)
    low, high = grid.center_of(cube.min(0)), grid.center_of(cube.max(0))
    size = np.asarray(grid.voxel_size_m)
    assert np.allclose((low + high) / 2, MARKED_CUBE_M, atol=0.6 * size)
    assert np.abs((high - low + size) - 1.0).max() <= size.max() + 1e-9
    assert (truth.instance_id[tuple(cube.T)] == 1).mean() > 0.5
    # The cube in the pictures and in the sweep, through their own matrices.
    sweep = sweep_lidar(scene, scene.rig.lidar, 0.0, instant=True, clean=True)
    T = scene.pose(0.0) @ scene.rig.T_base_grid
    hits = grid_points(T, sweep.world[sweep.class_id == Class.CAR])
    if rig == "nuscenes":  # the velodyne looks up by 2 degrees only and passes below the cube
        assert len(hits) > 20
    assert (np.abs(hits - MARKED_CUBE_M) < 0.51).all()
    for camera in scene.rig.cameras:
        picture = render_camera(scene, camera, 0.0, colour=False)
        seen = (picture.class_id == Class.CAR)[picture.surface]
        if seen.any():
            points = grid_points(T, surface_points(picture))[seen]
            assert (np.abs(points - MARKED_CUBE_M).max(1) < 0.51).all()


def test_vote_takes_the_most_frequent_and_the_smaller_thing_on_ties():
    fine = np.zeros((2, 2, 4), dtype=np.uint8)
    fine[0, 0, :2], fine[0, 1, 0] = Class.ROAD, Class.CAR
    fine[..., 2:] = np.array([Class.ROAD, Class.PERSON]).repeat(2).reshape(1, 2, 2)
    assert vote(fine).tolist() == [[[Class.ROAD, Class.PERSON]]]


def test_camera_mask_equals_a_ray_marching_oracle():
    scene = build_scene(WorldConfig("nuscenes", "small", 1005, movers=True))
    t, grid = 0.5, scene.rig.grid
    T = scene.pose(t) @ scene.rig.T_base_grid
    pictures = [render_camera(scene, c, t + c.delay_s, colour=False) for c in scene.rig.cameras]
    mask = camera_mask(grid, T, pictures)
    hit = np.zeros(grid.shape, dtype=bool)
    for picture in pictures:
        index, inside = grid.index_of(grid_points(T, surface_points(picture)))
        hit[tuple(index[inside].T)] = True
    assert mask[hit].all()
    # Dense oracle: rays through 64 points of the voxel, cast anew from every camera.
    rng = np.random.default_rng(0)
    some = np.argwhere(mask)[rng.choice(mask.sum(), 1000, replace=False)]
    others = np.argwhere(~mask)[rng.choice((~mask).sum(), 1000, replace=False)]
    assert oracle(scene, grid, T, pictures, some).mean() >= 0.999
    # Rays through a voxel's rim reach a few voxels more than the eight inner points do.
    assert oracle(scene, grid, T, pictures, others).mean() < 0.05


def oracle(scene, grid, T_world_grid, pictures, index):
    """Whether a ray from a camera reaches a voxel, for dense rays through it."""
    offsets = (np.stack(np.meshgrid(*[np.linspace(-0.45, 0.45, 4)] * 3), -1)).reshape(-1, 3)
    points = grid.center_of(index)[:, None] + offsets * grid.voxel_size_m
    world = points @ T_world_grid[:3, :3].T + T_world_grid[:3, 3]
    reached = np.zeros(len(index), dtype=bool)
    slack = 0.5 * np.linalg.norm(grid.voxel_size_m)
    for picture in pictures:
        T = picture.T_world_cam
        away = world - T[:3, 3]
        reach = np.linalg.norm(away, axis=-1)
        local = away @ T[:3, :3]
        _, inside = picture.camera.lens.project(local)
        prims = scene.snapshot(picture.time_s, T[:3, 3], 90.0, with_ego=True)
        d = away / reach[..., None]
        rays = Rays(
            tuple(T[None, i, 3:4] for i in range(3)),
            tuple(np.ascontiguousarray(d[..., i]) for i in range(3)),
        )
        distance, _ = cast_rays(scene.ground, prims, scene.looks.holes, rays)
        centre = np.linalg.norm(world.mean(1) - T[:3, 3], axis=-1)[:, None]
        reached |= (inside & (centre <= distance + slack)).any(1)
    return reached


def test_beams_enter_what_lies_between_scanner_and_hit():
    grid = GridSpec((0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (8, 4, 2), "test")
    seen = entered_by_beams(
        grid, np.eye(4), np.array([[-1.0, 0.7, 0.2]]), np.array([[2.6, 0.7, 0.2]])
    )
    assert np.argwhere(seen).tolist() == [[i, 1, 0] for i in range(6)]


def test_sensed_truth_knows_less_but_agrees(kitti, kitti_frames):
    voxels = kitti_frames[0].voxels
    sensed, exact = voxels.sensed, voxels.exact.labels
    known = sensed.labels != IGNORED
    assert 0.15 < known.mean() < 0.6
    assert np.array_equal(sensed.invalid, ~known)
    assert not (sensed.scan & sensed.occluded).any()
    share = (sensed.labels[known] > 0).mean()
    assert 0.03 < share < 0.15  # the real set has 6.9 %
    index = np.argwhere(known & (sensed.labels > 0) & ~sensed.moving)
    index = index[index[:, 2] > 0]  # below the lowest layer the grid cannot say what is solid
    class_id = sensed.labels[tuple(index.T)]
    assert neighbourhood(exact, index, class_id.__eq__).mean() > 0.97
    # Deep inside solids nothing is known.
    inner = np.ones_like(known)
    for axis in range(3):
        for step in (-2, -1, 0, 1, 2):
            inner &= np.roll(exact == Class.BUILDING, step, axis)
    assert known[inner].mean() < 0.01


def test_movers_leave_no_trail(kitti):
    frame = make_frame(kitti, Mapper(kitti, Mapping(6.0, 30.0, 300)), 5, Parts(False, cameras=()))
    sensed, grid = frame.voxels.sensed, kitti.rig.grid
    T_grid_world = inverse(frame.voxels.T_world_grid)
    checked = 0
    for row in kitti.instances:
        if row["body"] == 0 or row["class_id"] != Class.CAR:
            continue
        for back in (0.9, 1.2, 1.5):
            there = T_grid_world @ kitti.bodies.pose(row["body"], frame.time_s - back)
            column = there[:3, 3] + np.linspace(0.4, 1.4, 6)[:, None] * there[:3, 2]
            index, inside = grid.index_of(column)
            now = T_grid_world @ kitti.bodies.pose(row["body"], np.float64(frame.time_s))
            if not inside.all() or np.linalg.norm(now[:2, 3] - there[:2, 3]) < 4.5:
                continue
            labels = sensed.labels[tuple(index.T)]
            labels = labels[labels != IGNORED]
            moving = sensed.moving[tuple(index.T)]
            assert moving.mean() < 0.05
            if labels.size:
                checked += 1
                assert (labels == 0).mean() > 0.95
    assert checked > 0


def test_scene_flow_moves_voxels_with_their_bodies(kitti, kitti_frames):
    voxels = kitti_frames[0].voxels
    flow = voxel_flow(kitti, voxels.exact, kitti.rig.grid, voxels.T_world_grid, 0.0, 0.1)
    assert not flow[voxels.exact.body == 0].any()
    cars = (voxels.exact.body > 0) & (voxels.exact.labels == Class.CAR)
    speed = np.linalg.norm(flow[cars], axis=-1) / 0.1
    assert cars.sum() > 100
    assert 2.0 < np.median(speed) < 18.0
    motion = instance_motion(kitti, 0.0, 0.1)
    assert set(motion) == {row["id"] for row in kitti.instances if row["body"]}
    # Oncoming traffic comes nearer, however the street is turned in the world.
    ids = voxels.exact.instance_id[cars]
    for one in np.unique(ids[ids > 0]):
        middle = flow[cars][ids == one].mean(0)
        assert np.linalg.norm(middle) == pytest.approx(
            np.linalg.norm(motion[int(one)][:3, 3]), abs=0.6
        )


def test_annotated_boxes_hold_the_points_of_their_instances(kitti):
    sweep = sweep_lidar(kitti, kitti.rig.lidar, 0.2, instant=True, clean=True)
    boxes = instance_boxes(kitti, 0.2)
    assert [box.instance_id for box in boxes] == [row["id"] for row in kitti.instances]
    checked = 0
    for box in boxes:
        points = sweep.world[sweep.instance_id == box.instance_id]
        local = grid_points(box.T_world_box, points)
        assert (np.abs(local) <= np.array(box.size_m) / 2 + 0.01).all()
        checked += len(points)
        speed = np.linalg.norm(box.velocity_mps)
        assert (speed > 0.5) == box.moving
        if box.class_id == Class.CAR:
            assert 3.8 < box.size_m[0] < 4.9
    assert checked > 300
