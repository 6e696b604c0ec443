"""GaussianFlowOcc behind the common contract, at a tiny size."""

import dataclasses

import numpy as np
import pytest
import torch

from occ_perception.core.camera import Camera
from occ_perception.core.errors import CalibrationError, ConfigError, PredictionError
from occ_perception.core.types import CameraFrame
from occ_perception.geometry.transforms import R_BODY_OPTICAL, transform
from occ_perception.systems.base import Context
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig
from occ_perception.systems.gaussianflowocc.system import GaussianFlowOccSystem

CONFIG = dataclasses.replace(
    GaussianFlowOccConfig.nano(),
    input_size=(64, 96),
    cameras=("front", "back"),
    gaussians=60,
    free_below=0.05,
    channels=16,
    head_channels=16,
    origin_m=(-4.0, -4.0, -1.0),
    shape=(20, 20, 16),
)
STEP_NS = 500_000_000


@pytest.fixture
def system():
    torch.manual_seed(0)
    return GaussianFlowOccSystem(CONFIG)


def frame(name, seed=0, distortion=()):
    P = np.array([[50.0, 0, 60, 0], [0, 50.0, 40, 0], [0, 0, 1, 0]])
    pose = np.eye(4)
    pose[:3, :3] = R_BODY_OPTICAL
    if name == "back":
        pose[:3, :3] = np.diag([-1.0, -1, 1]) @ R_BODY_OPTICAL
    image = np.random.default_rng(seed).integers(0, 255, (80, 120, 3), dtype=np.uint8)
    return CameraFrame(image, Camera(name, P, 120, 80, pose, distortion), stamp_ns=5)


def predict(system, step, seed=0, pose=True):
    views = [system.preprocess(frame(name, seed)) for name in CONFIG.cameras]
    T = transform([100.0 + step, 50.0, 0]) if pose else None
    return system.infer(views, Context(stamp_ns=step * STEP_NS, T_world_base=T))


def test_views_become_voxels_and_gaussians(system):
    prediction = predict(system, 1)
    assert prediction.labels.dtype == torch.uint8
    assert tuple(prediction.labels.shape) == CONFIG.shape
    assert set(prediction.labels.unique().tolist()) <= {*range(1, 17), 17}
    assert prediction.extras["means"].shape == (60, 3)
    assert prediction.stamp_ns == STEP_NS
    assert ((prediction.confidence >= 0) & (prediction.confidence <= 1)).all()


def test_the_past_counts_until_it_is_forgotten(system):
    first = predict(system, 1).extras["means"]
    second = predict(system, 2).extras["means"]
    assert not torch.allclose(first, second)
    system.reset()
    torch.testing.assert_close(predict(system, 2).extras["means"], first)


@pytest.mark.parametrize("step", [1, 0, 9], ids=["repeated", "backward", "long gap"])
def test_a_jump_in_time_starts_anew(system, step):
    first = predict(system, 1).extras["means"]
    torch.testing.assert_close(predict(system, step).extras["means"], first)


def test_without_odometry_every_frame_stands_alone(system):
    first = predict(system, 1, pose=False).extras["means"]
    torch.testing.assert_close(predict(system, 2, pose=False).extras["means"], first)


def test_a_missing_camera_is_refused(system):
    view = system.preprocess(frame("front"))
    with pytest.raises(CalibrationError, match="front, back"):
        system.infer([view], Context(stamp_ns=1))


def test_images_that_are_not_rectified_are_refused(system):
    with pytest.raises(CalibrationError, match="not rectified"):
        system.preprocess(frame("front", distortion=(0.1, 0.0)))


def test_nan_is_never_an_answer_and_never_remembered(system):
    with torch.no_grad():
        kept = system.network.initial_means.clone()
        system.network.initial_means.fill_(torch.nan)
        with pytest.raises(PredictionError, match="NaN"):
            predict(system, 1)
        system.network.initial_means.copy_(kept)
    assert predict(system, 2).extras["means"].isfinite().all()


def test_a_wider_reach_is_taken_up_at_once(system):
    system.reach = 1
    narrow = (predict(system, 1).labels != 17).sum()
    system.reset()
    system.reach = 4
    assert (predict(system, 1).labels != 17).sum() > narrow


def test_motion_is_only_told_where_somebody_asks_and_only_of_what_can_move(system):
    views = [system.preprocess(frame(name)) for name in CONFIG.cameras]
    asked = Context(stamp_ns=5, T_world_base=np.eye(4), wanted=frozenset({"gaussians"}))
    extras = system.infer(views, asked).extras
    moves = torch.isin(extras["logits"].argmax(1) + 1, torch.tensor(CONFIG.dynamic_ids))
    assert extras["flow"].shape == (60, 3)
    assert (extras["flow"].abs().sum(1) > 0).tolist() == moves.tolist()
    assert "flow" not in predict(system, 2).extras


def test_a_rig_may_lack_cameras_of_the_training(system):
    torch.manual_seed(0)
    one = GaussianFlowOccSystem(dataclasses.replace(CONFIG, rig=("back",)))
    one.network.load_state_dict(system.network.state_dict())
    views = [one.preprocess(frame("back"))]
    alone = one.infer(views, Context(stamp_ns=5)).extras["means"]
    assert alone.isfinite().all()
    # The same as with a front camera that sees nothing, not as with one that sees something.
    assert not torch.allclose(alone, predict(system, 1, pose=False).extras["means"])
    assert any("the rig is back;" in note for note in one.notes())
    with pytest.raises(ConfigError, match=r"'side' has no embedding.*front, back"):
        dataclasses.replace(CONFIG, rig=("side",))


def test_nothing_is_known_beside_the_images(system):
    prediction = predict(system, 1)
    x, y, _ = CONFIG.grid.centers().unbind(-1)
    assert not prediction.known[x.abs() < 0.5 * y.abs()].any()
    assert prediction.known[x > 0].any() and prediction.known[x < 0].any()
