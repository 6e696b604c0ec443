"""Types refuse data that does not belong together."""

import numpy as np
import pytest
import torch

from occ_perception.core.camera import Camera
from occ_perception.core.errors import ImageError, PredictionError
from occ_perception.core.grid import GridSpec
from occ_perception.core.types import CameraFrame, Prediction

CAMERA = Camera("left", np.array([[9.0, 0, 4, 0], [0, 9, 3, 0], [0, 0, 1, 0]]), 8, 6)
GRID = GridSpec((0, 0, 0), (1, 1, 1), (2, 3, 4), "base")


def test_an_image_of_another_size_is_refused_with_both_sizes():
    with pytest.raises(ImageError, match=r"5, 8, 3.*6, 8, 3"):
        CameraFrame(np.zeros((5, 8, 3), np.uint8), CAMERA, 0)


def test_a_float_image_is_refused():
    with pytest.raises(ImageError, match="float32"):
        CameraFrame(np.zeros((6, 8, 3), np.float32), CAMERA, 0)


def test_every_volume_of_a_prediction_has_the_shape_of_the_grid():
    labels = torch.zeros(2, 3, 4, dtype=torch.uint8)
    Prediction(labels, GRID, 0, confidence=torch.zeros(2, 3, 4))
    with pytest.raises(PredictionError, match="known"):
        Prediction(labels, GRID, 0, known=torch.zeros(4, 3, 2, dtype=torch.bool))
