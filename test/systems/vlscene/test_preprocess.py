"""Fitting images: the published geometry, the virtual camera, and refusals."""

import numpy as np
import pytest
import torch
from PIL import Image

from occ_perception.core.camera import Camera
from occ_perception.core.errors import CalibrationError, ImageError
from occ_perception.core.types import CameraFrame
from occ_perception.systems.vlscene.preprocess import choose_fit, prepare_image, prepare_view
from occ_perception.systems.vlscene.stereo_pair import focal_baseline, pair_geometry

MEAN = torch.tensor([123.675, 116.28, 103.53])
STD = torch.tensor([58.395, 57.12, 57.375])


def camera(fx=718.856, cx=607.1928, cy=185.2157, size=(1241, 376), baseline=0.0, name="left", **kw):
    width, height = size
    P = np.array([[fx, 0, cx, -fx * baseline], [0, fx, cy, 0], [0, 0, 1.0, 0]])
    return Camera(name=name, P=P, width=width, height=height, **kw)


def robot(**kw):
    return camera(**{"fx": 500.0, "cx": 322.5, "cy": 238.5, "size": (640, 480), **kw})


def image_of(cam, rng_seed=0):
    return np.random.default_rng(rng_seed).integers(0, 256, (cam.height, cam.width, 3), np.uint8)


def grey_levels(prepared):
    return prepared * STD[:, None, None] + MEAN[:, None, None]


@pytest.mark.parametrize(
    ("cam", "kind"),
    [
        (camera(), "published"),
        (camera(721.5377, 609.5593, 172.854, (1242, 375)), "published"),
        (camera(707.0912, 601.8873, 183.1104, (1226, 370)), "published"),
        (camera(552.554261, 682.049453, 238.769549, (1408, 376)), "virtual"),  # KITTI-360
        (camera(359.4, 303.6, 92.6, (620, 188)), "virtual"),  # KITTI at half size: other numbers
        (robot(), "virtual"),
    ],
)
def test_auto_takes_what_the_camera_resembles(cam, kind):
    fit = choose_fit(cam)
    assert fit.kind == kind
    assert "KITTI" in fit.reason


def test_fit_can_be_insisted_on():
    assert choose_fit(camera(), "virtual").kind == "virtual"
    assert choose_fit(robot(), "published").kind == "published"


def test_published_pads_the_truncated_column_and_keeps_the_bottom():
    cam = camera()  # 1241 * (1280 / 1241) truncates to 1279
    white = np.full((376, 1241, 3), 255, np.uint8)
    white[-1] = 0
    levels = grey_levels(prepare_image(white, choose_fit(cam)))
    assert levels.shape == (3, 384, 1280)
    assert levels[:, :, 1279].abs().max() < 1e-3
    assert levels[:, :380, :1279].min() > 254
    assert levels[:, -1, :1279].max() < 128


def test_short_images_are_padded_at_the_top():
    cam = camera(552.554261, 682.049453, 238.769549, (1408, 376))
    white = np.full((376, 1408, 3), 255, np.uint8)
    fit = choose_fit(cam, "published")
    levels = grey_levels(prepare_image(white, fit))
    assert levels[:, :43].abs().max() < 1e-3
    assert levels[:, 43:].min() > 254
    assert fit.image_transform[1, 2] == 43


def test_virtual_camera_is_kittis():
    fit = choose_fit(robot(baseline=0.12))
    np.testing.assert_allclose(
        fit.camera.K, [[707.0912, 0, 601.8873], [0, 707.0912, 183.1104], [0, 0, 1]]
    )
    assert (fit.camera.width, fit.camera.height) == (1226, 370)
    assert fit.camera.P[0, 3] == pytest.approx(-707.0912 * 0.12)


@pytest.mark.parametrize("kind", ["published", "virtual"])
@pytest.mark.parametrize("make", [camera, robot])
def test_marked_pixel_lands_where_the_geometry_says(kind, make):
    cam = make()
    fit = choose_fit(cam, kind)
    image = np.zeros((cam.height, cam.width, 3), np.uint8)
    u, v = cam.width // 2 + 37, cam.height * 3 // 4  # low enough to survive the published crop
    image[v - 2 : v + 3, u - 2 : u + 3] = 255
    levels = grey_levels(prepare_image(image, fit)).mean(0).clamp(min=0)
    levels = torch.where(levels > 20, levels, 0)
    rows, columns = torch.meshgrid(torch.arange(384.0), torch.arange(1280.0), indexing="ij")
    found = torch.stack([(columns * levels).sum(), (rows * levels).sum()]) / levels.sum()
    # A ray through the pixel, seen by the camera that the network is told about.
    ray = np.linalg.inv(cam.K) @ [u, v, 1]
    expected = fit.image_transform @ fit.camera.K @ ray
    # PIL's sizes are truncated and count from pixel edges: up to a pixel off, as published.
    limit = 0.05 if kind == "virtual" else 1.0
    assert np.abs(found.numpy() - expected[:2]).max() < limit


def test_virtual_fit_of_kittis_own_camera_equals_the_published_one():
    cam = camera(707.0912, 601.8873, 183.1104, (1226, 370))
    smooth = Image.fromarray(image_of(cam)[::16, ::16]).resize((1226, 370))
    images = [
        grey_levels(prepare_image(np.array(smooth), choose_fit(cam, kind)))
        for kind in ("published", "virtual")
    ]
    inside = (images[0] - images[1]).abs()[:, 2:-2, 2:-2]
    assert inside.mean() < 2


def test_virtual_fit_is_black_where_nothing_was_seen():
    fit = choose_fit(robot())
    levels = grey_levels(prepare_image(np.full((480, 640, 3), 255, np.uint8), fit))
    left_edge = (fit.source_transform @ [0, 0, 1])[0]
    assert levels[:, :, : int(left_edge) - 1].abs().max() < 1e-3
    assert levels[:, :, int(left_edge) + 3 : 640].min() > 254


def test_grey_images_are_replicated():
    cam = camera()
    grey = image_of(cam)[..., 0]
    three = np.repeat(grey[..., None], 3, axis=2)
    fit = choose_fit(cam)
    expected = prepare_image(three, fit)
    assert torch.equal(prepare_image(grey, fit), expected)
    assert torch.equal(prepare_image(grey[..., None], fit), expected)


def pair(left, right, kind="auto"):
    frames = [CameraFrame(np.zeros((c.height, c.width, 3), np.uint8), c, 5) for c in (left, right)]
    return [prepare_view(frame, choose_fit(frame.camera, kind)) for frame in frames]


def test_pair_geometry_of_a_robot():
    pose = np.eye(4)
    pose[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    pose[:3, 3] = [0.3, 0.06, 1.2]
    left, right = pair(robot(T_base_cam=pose), robot(baseline=0.12, name="right"))
    geometry = pair_geometry(left, right)
    assert left.stamp_ns == 5
    assert geometry.calib.dtype == torch.float64
    assert geometry.calib.item() == pytest.approx(707.0912 * 0.12)
    np.testing.assert_allclose(geometry.trans[0, 0], [0.3, 0.06, 1.2], atol=1e-6)
    np.testing.assert_allclose(geometry.rots[0, 0], pose[:3, :3])
    scale = 1280 / 1226
    np.testing.assert_allclose(geometry.post_rots[0, 0], np.diag([scale, scale, 1]), atol=1e-6)
    assert geometry.post_trans[0, 0].tolist() == [0, -2, 0]
    geometry.check()


def test_focal_baseline_of_kitti():
    P2 = np.array([[707.0912, 0, 601.8873, 46.88783], [0, 707.0912, 183.1104, 0], [0, 0, 1, 0]])
    P3 = np.array([[707.0912, 0, 601.8873, -333.4597], [0, 707.0912, 183.1104, 0], [0, 0, 1, 0]])
    assert focal_baseline(P2, P3) == pytest.approx(380.34753)


@pytest.mark.parametrize(
    ("right", "message"),
    [
        (camera(baseline=-0.5, name="right"), "swapped"),
        (camera(baseline=0.0, name="right"), "no baseline"),
        (camera(cy=190.0, baseline=0.5, name="right"), "not a rectified pair"),
        (camera(fx=715.0, baseline=0.5, name="right"), "not a rectified pair"),
    ],
)
def test_impossible_pairs_are_refused(right, message):
    with pytest.raises(CalibrationError, match=message):
        pair_geometry(*pair(camera(), right))


def test_shifted_centre_is_repaired_by_the_virtual_fit():
    views = pair(camera(), camera(cx=640.0, baseline=0.5, name="right"), "virtual")
    assert pair_geometry(*views).calib.item() == pytest.approx(707.0912 * 0.5)


@pytest.mark.parametrize(
    ("cam", "message"),
    [
        (camera(distortion=(0.1, 0.0, 0.0, 0.0, 0.0)), "not rectified"),
        (camera(cx=1500.0), "do not belong together"),
        (camera(fx=20000.0), "shows only"),
    ],
)
def test_unusable_cameras_are_refused(cam, message):
    with pytest.raises(CalibrationError, match=message):
        choose_fit(cam)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((375, 1241, 3), np.uint8),
        np.zeros((376, 1241, 4), np.uint8),
        np.zeros((376, 1241, 3), np.float32),
    ],
)
def test_images_that_contradict_the_calibration_are_refused(image):
    with pytest.raises(ImageError, match="1241x376"):
        prepare_image(image, choose_fit(camera()))
