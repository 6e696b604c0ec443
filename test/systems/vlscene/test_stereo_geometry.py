"""The calibration that the network sees."""

import pytest
import torch

from occ_perception.core.errors import CalibrationError
from occ_perception.systems.vlscene.stereo_geometry import StereoGeometry


def geometry(**changes):
    intrins = torch.eye(4).repeat(1, 1, 1, 1)
    intrins[..., :3, :] = torch.tensor([[10.0, 0, 12, 13], [0, 11, 14, 15], [0, 0, 1, 16]])
    parts = {
        "rots": torch.arange(20.0, 29).view(1, 1, 3, 3),
        "trans": torch.tensor([[[31.0, 32, 33]]]),
        "intrins_left": intrins,
        "intrins_right": intrins + 0.5 * torch.eye(4),
        "post_rots": torch.tensor([[[[1.0, 2, 0], [4, 5, 0], [0, 0, 1]]]]),
        "post_trans": torch.tensor([[[3.0, 6, 0]]]),
        "bda": torch.tensor([[[40.0, 41, 0], [42, 43, 0], [0, 0, 44]]]),
        "calib": torch.tensor([[380.0]], dtype=torch.float64),
    }
    return StereoGeometry(**(parts | changes))


def test_the_camera_vector_has_the_order_that_the_weights_know():
    left, right = geometry().camera_vectors()
    image = [10, 11, 12, 14, 13, 15, 16, 1, 2, 3, 4, 5, 6]
    pose = [20, 21, 22, 31, 23, 24, 25, 32, 26, 27, 28, 33]
    assert left.tolist() == [[*image, 40, 41, 42, 43, 44, *pose]]
    assert right[0, :2].tolist() == [10.5, 11.5] and torch.equal(right[:, 7:], left[:, 7:])


def test_batches_are_joined_sample_by_sample():
    joined = StereoGeometry.cat([geometry(), geometry(calib=torch.tensor([[5.0]]).double())])
    assert joined.calib.tolist() == [[380.0], [5.0]] and joined.rots.shape == (2, 1, 3, 3)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"calib": torch.tensor([[-380.0]]).double()}, "swapped"),
        ({"calib": torch.tensor([[0.0]]).double()}, "not positive"),
        ({"trans": torch.tensor([[[float("nan"), 0, 0]]])}, "trans"),
        ({"intrins_right": torch.zeros(1, 1, 4, 4)}, "intrins_right"),
    ],
)
def test_a_calibration_that_cannot_be_used_is_named(changes, named):
    with pytest.raises(CalibrationError, match=named):
        geometry(**changes).check()
