"""Cameras: intrinsics follow the image."""

import numpy as np
import pytest

from occ_perception.core.camera import Camera
from occ_perception.core.errors import CalibrationError


def camera(**changes) -> Camera:
    P = np.array([[700.0, 0, 600, -370], [0, 710, 180, 0], [0, 0, 1, 0]])
    return Camera(**{"name": "right", "P": P, "width": 1226, "height": 370, **changes})


def pixel(cam: Camera, point) -> np.ndarray:
    u, v, w = cam.P @ [*point, 1]
    return np.array([u / w, v / w])


def test_resized_keeps_pixel_edges_together():
    full, half = camera(), camera().resized(613, 185)
    edge_full = pixel(full, (1.0, 0.5, 10.0)) + 0.5
    edge_half = pixel(half, (1.0, 0.5, 10.0)) + 0.5
    assert np.allclose(edge_half, edge_full / 2)
    assert (half.width, half.height) == (613, 185)


def test_cropped_moves_the_pixel():
    window = camera().cropped(100, 20, 400, 200)
    assert np.allclose(
        pixel(window, (1.0, 0.5, 10.0)), pixel(camera(), (1.0, 0.5, 10.0)) - [100, 20]
    )


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"P": np.zeros((3, 4))}, "uncalibrated"),
        ({"P": np.full((3, 4), np.nan)}, "NaN"),
        ({"P": np.eye(3)}, "3x4"),
        ({"width": 0}, "size"),
        ({"T_base_cam": np.full((4, 4), np.inf)}, "infinity"),
    ],
)
def test_unusable_calibration_is_named(changes, word):
    with pytest.raises(CalibrationError, match=word):
        camera(**changes)


def test_equality_sees_every_number():
    moved = np.eye(4)
    moved[0, 3] = 0.1
    assert camera().equals(camera())
    assert not camera().equals(camera(T_base_cam=moved))
    assert not camera().equals(camera(name="left"))
    assert not camera().equals(camera().cropped(1, 0, 1226, 370))
