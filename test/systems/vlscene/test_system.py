"""VLScene behind the common contract, on the nano preset."""

import numpy as np
import pytest
import torch

from occ_perception.core.camera import Camera
from occ_perception.core.errors import CalibrationError, PredictionError
from occ_perception.core.types import CameraFrame
from occ_perception.geometry.transforms import R_BODY_OPTICAL
from occ_perception.systems.base import Context
from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_perception.systems.vlscene.system import VLSceneSystem


@pytest.fixture(scope="module")
def system() -> VLSceneSystem:
    torch.manual_seed(0)
    return VLSceneSystem(VLSceneConfig.nano())


def frame(name: str, baseline_m: float = 0.0, width: int = 1226, focal: float = 707.0912):
    P = np.array([[focal, 0, 601.9, -focal * baseline_m], [0, focal, 183.1, 0], [0, 0, 1, 0]])
    pose = np.eye(4)
    pose[:3, :3] = R_BODY_OPTICAL
    image = np.random.default_rng(3).integers(0, 255, (370, width, 3), dtype=np.uint8)
    return CameraFrame(image, Camera(name, P, width, 370, pose), stamp_ns=5)


def views(system: VLSceneSystem, baseline_m: float = 0.54):
    return [system.preprocess(f) for f in (frame("left"), frame("right", baseline_m))]


def test_a_pair_becomes_a_grid_of_labels_with_the_stamp_of_the_pair(system):
    prediction = system.infer(views(system), Context(stamp_ns=5))
    assert prediction.stamp_ns == 5
    assert prediction.labels.dtype == torch.uint8
    assert tuple(prediction.labels.shape) == (256, 256, 32)
    assert int(prediction.labels.max()) < 20
    assert prediction.confidence.min() >= 1 / 20 - 1e-6


def test_voxels_outside_the_left_image_are_not_known(system):
    known = system.infer(views(system), Context(stamp_ns=5)).known
    assert not known[:20, :, 20:].any()  # near and 2 m above the camera: over the image
    assert known[100:, 128, 10].all()  # straight ahead
    assert not known[20, 250].any()  # far to the left, near in front


def test_swapped_views_are_refused(system):
    left, right = views(system)
    with pytest.raises(CalibrationError, match="swapped"):
        system.infer([right, left], Context(stamp_ns=5))


def test_nan_is_never_an_answer(system):
    bias = system.network.head.classify.bias
    kept = bias.detach().clone()
    with torch.no_grad():
        bias.fill_(torch.nan)
    try:
        with pytest.raises(PredictionError, match="NaN"):
            system.infer(views(system), Context(stamp_ns=5))
    finally:
        with torch.no_grad():
            bias.copy_(kept)


def test_a_new_calibration_is_fitted_anew(system):
    system.preprocess(frame("left"))
    assert "'left' are fitted by 'published'" in system.notes()[0]
    system.preprocess(frame("left", width=1280, focal=500.0))
    assert "'left' are fitted by 'virtual'" in system.notes()[0]
