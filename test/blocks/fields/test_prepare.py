"""Images and intrinsics of field systems stay together."""

import numpy as np
import pytest
import torch

from occ_perception.blocks.fields.prepare import cover, stretch, view_intrinsics
from occ_perception.core.camera import Camera
from occ_perception.core.errors import CalibrationError
from occ_perception.core.types import CameraFrame


def kitti_frame(width=1408, height=376, distortion=()):
    P = np.array([[552.554261, 0, 682.049453, 0], [0, 552.554261, 238.769549, 0], [0, 0, 1.0, 0]])
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[:, width // 2 :] = 255
    return CameraFrame(image, Camera("front", P, width, height, distortion=distortion), 7)


def test_kitti360_gets_the_published_intrinsics():
    view = stretch(kitti_frame(), (192, 640))
    K = view_intrinsics(view)
    wanted = torch.tensor([[0.7849, 0, -0.0312], [0, 2.9391, 0.2701], [0, 0, 1]])
    torch.testing.assert_close(K, wanted, rtol=0, atol=1e-4)
    assert view.image.shape == (3, 192, 640) and view.stamp_ns == 7


def test_images_run_from_minus_one_to_one():
    image = stretch(kitti_frame(), (192, 640)).image
    assert image.amin() == -1 and image.amax() == 1


@pytest.mark.parametrize(("width", "height"), [(1408, 376), (800, 800), (640, 192)])
def test_covering_keeps_the_aspect_of_the_focal_lengths(width, height):
    view = cover(kitti_frame(width, height), (192, 640))
    K = view_intrinsics(view)
    assert view.image.shape == (3, 192, 640)
    assert float(K[0, 0] * 640 / (K[1, 1] * 192)) == pytest.approx(1, abs=0.01)


def test_covering_shows_the_middle():
    frame = kitti_frame(1408, 376)
    edge = int((cover(frame, (192, 640)).image[0, 96] > 0).nonzero()[0])
    assert abs(edge - 320) <= 1


def test_distorted_cameras_are_refused():
    with pytest.raises(CalibrationError, match="rectify"):
        stretch(kitti_frame(distortion=(0.1,)), (192, 640))
