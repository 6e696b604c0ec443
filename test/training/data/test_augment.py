import numpy as np
import pytest

from occ_perception.core.camera import Camera
from occ_perception.core.errors import ConfigError
from occ_perception.core.grid import GridSpec
from occ_perception.core.types import CameraFrame
from occ_perception.geometry.transforms import R_BODY_OPTICAL, inverse, rotation_rpy, transform
from occ_training.data.augment import (
    Augmentation,
    Colours,
    change_colours,
    cropped,
    mirrored,
    recoloured,
    resized,
    swapped_pair,
)
from occ_training.data.samples import LabelImage, Points, Sample, View, Voxels

WIDTH, HEIGHT = 64, 48
GRID = GridSpec((0.0, -4.0, -1.0), (0.5, 0.5, 0.5), (16, 16, 8), "velodyne")
POINT_M = np.array([6.3, 1.2, 0.4, 1.0])  # in the base frame, left of the middle


def pose(x, y, z, roll, pitch, yaw):
    T = transform((x, y, z))
    T[:3, :3] = rotation_rpy(roll, pitch, yaw)
    return T


def camera(name, P, offset=0.0):
    T = pose(1.5, 0.2, 1.6, 0.02, 0.05, 0.03)
    T[:3, :3] = T[:3, :3] @ R_BODY_OPTICAL
    return Camera(name, P, WIDTH, HEIGHT, T @ transform((offset, 0, 0)))


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    K = np.array([[50.0, 0, 30.2, 0], [0, 51.0, 25.7, 0], [0, 0, 1, 0]])
    right = K.copy()
    right[0, 3] = -50.0 * 0.54
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    T_world = pose(10, 20, 1, 0.03, -0.02, 0.7)
    views = tuple(
        View(CameraFrame(image.copy(), cam, 100), T_world)
        for cam in (camera("left", K), camera("right", right, 0.54))
    )
    labels = np.zeros(GRID.shape, np.uint8)
    T_base_grid = transform((0, 0, 1.0))
    index, inside = GRID.index_of((inverse(T_base_grid) @ POINT_M)[:3])
    assert inside
    labels[tuple(index)] = 7
    columns = dict(zip("xyz", POINT_M[:3, None].astype(np.float32), strict=True))
    layers = {
        "voxels": Voxels(GRID, labels, labels > 0, "semantickitti", 100, T_base_grid, T_world),
        "points": Points(columns, 100, np.eye(4), T_world),
        "classes": LabelImage(np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH), 100, "left"),
    }
    return Sample("scene", 0, 100, views, {0.1: views}, layers)


def pixel(view, point):
    uvw = view.frame.camera.K @ (inverse(view.frame.camera.T_base_cam) @ point)[:3]
    return uvw[:2] / uvw[2]


def voxel_centre(layer):
    """Where the marked voxel is, in the base frame."""
    (cell,) = np.argwhere(layer.labels == 7)
    return layer.T_base_grid @ [*layer.grid.center_of(cell), 1.0]


def test_a_mirrored_point_is_seen_where_the_mirrored_image_shows_it(sample):
    other = mirrored(sample)
    point = POINT_M * [1, -1, 1, 1]
    for before, after in zip(sample.views, other.views, strict=True):
        u, v = pixel(before, POINT_M)
        np.testing.assert_allclose(pixel(after, point), (WIDTH - 1 - u, v), atol=1e-9)
        np.testing.assert_array_equal(after.frame.image, before.frame.image[:, ::-1])
        R = after.frame.camera.T_base_cam[:3, :3]
        assert np.linalg.det(R) == pytest.approx(1)  # still a rotation
    np.testing.assert_allclose(voxel_centre(other.labels["voxels"])[1], -1.2, atol=0.25)
    assert other.labels["points"].xyz[0, 1] == pytest.approx(-1.2)
    before = sample.views[0].T_world_base @ POINT_M
    np.testing.assert_allclose(
        other.views[0].T_world_base @ point, before * [1, -1, 1, 1], atol=1e-9
    )
    assert len(other.neighbours[0.1]) == 2


def test_mirroring_twice_changes_nothing(sample):
    again = mirrored(mirrored(sample))
    np.testing.assert_array_equal(again.views[0].frame.image, sample.views[0].frame.image)
    for a, b in zip(again.views, sample.views, strict=True):
        np.testing.assert_allclose(a.frame.camera.P, b.frame.camera.P, atol=1e-12)
        np.testing.assert_allclose(a.T_world_base, b.T_world_base, atol=1e-12)
    np.testing.assert_array_equal(again.labels["voxels"].labels, sample.labels["voxels"].labels)


def test_a_mirrored_pair_is_a_pair_again(sample):
    left, right = swapped_pair(mirrored(sample)).views
    assert (left.frame.camera.name, right.frame.camera.name) == ("right", "left")
    assert left.frame.camera.P[0, 3] == pytest.approx(0)
    assert right.frame.camera.P[0, 3] == pytest.approx(-50 * 0.54)
    apart = inverse(left.frame.camera.T_base_cam) @ right.frame.camera.T_base_cam
    np.testing.assert_allclose(apart[:3, 3], (0.54, 0, 0), atol=1e-9)
    with pytest.raises(ConfigError):
        swapped_pair(sample)


def test_a_grid_that_is_not_symmetric_cannot_be_mirrored(sample):
    from dataclasses import replace

    grid = GridSpec((0.0, -3.0, -1.0), (0.5, 0.5, 0.5), (16, 16, 8), "velodyne")
    labels = {"voxels": replace(sample.labels["voxels"], grid=grid)}
    with pytest.raises(ConfigError, match="mirror"):
        mirrored(replace(sample, labels=labels))


def test_crop_and_resize_carry_the_calibration(sample):
    u, v = pixel(sample.views[0], POINT_M)
    window = cropped(sample, 5, 7, 40, 32)
    np.testing.assert_allclose(pixel(window.views[0], POINT_M), (u - 5, v - 7), atol=1e-9)
    assert window.views[1].frame.image.shape == (32, 40, 3)
    np.testing.assert_array_equal(
        window.views[0].frame.image, sample.views[0].frame.image[7:39, 5:45]
    )
    assert window.labels["classes"].values[0, 0] == 7 * WIDTH + 5
    half = resized(sample, 0.5)
    np.testing.assert_allclose(
        pixel(half.views[0], POINT_M), ((u + 0.5) / 2 - 0.5, (v + 0.5) / 2 - 0.5), atol=1e-9
    )
    assert half.labels["classes"].values.shape == (HEIGHT // 2, WIDTH // 2)
    assert set(np.unique(half.labels["classes"].values)) <= set(range(HEIGHT * WIDTH))
    assert half.labels["voxels"] is sample.labels["voxels"]


def test_colours_change_alike_and_do_not_touch_labels(sample):
    darker = recoloured(sample, Colours(brightness=0.5))
    for before, after in zip(sample.views, darker.views, strict=True):
        np.testing.assert_allclose(
            after.frame.image.astype(float), before.frame.image / 2, atol=0.51
        )
    assert darker.labels == sample.labels
    assert recoloured(sample, Colours()) is sample


def test_colour_operations():
    image = np.array([[[200, 100, 50], [20, 40, 60]]], np.uint8)
    grey = change_colours(image, Colours(saturation=0.0))
    assert (np.ptp(grey.astype(int), axis=-1) <= 1).all()
    flat = change_colours(image, Colours(contrast=0.0, saturation=0.0))
    assert len(np.unique(flat)) == 1
    turned = change_colours(np.array([[[255, 0, 0]]], np.uint8), Colours(hue=1 / 3))
    assert turned[0, 0].argmax() == 1  # red becomes green


def test_random_augmentation_is_decided_by_its_generator(sample):
    augment = Augmentation(
        mirror=0.5, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1, scale=(0.9, 1.2),
        crop=(40, 32),
    )  # fmt: skip
    first, second, other = (augment(sample, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.views[0].frame.image, second.views[0].frame.image)
    assert not np.array_equal(first.views[0].frame.image, other.views[0].frame.image)
    assert first.views[0].frame.image.shape == (32, 40, 3)
    mirrored_share = np.mean(
        [
            Augmentation(mirror=0.3)(sample, np.random.default_rng(s)).views[1].frame.camera.P[0, 3]
            > 0
            for s in range(200)
        ]
    )
    assert 0.2 < mirrored_share < 0.4


def test_a_window_that_does_not_fit(sample):
    with pytest.raises(ConfigError, match="window"):
        Augmentation(crop=(65, 10))(sample, np.random.default_rng(0))
