"""The optional dense CRF: with its library, and without."""

import sys

import numpy as np
import pytest

from occ_perception.core.errors import ConfigError
from occ_perception.eval.dense_crf import refine


def test_noise_within_an_area_of_one_colour_disappears():
    pytest.importorskip("pydensecrf", reason="pip install pydensecrf2")
    rng = np.random.default_rng(0)
    classes = np.zeros((48, 96), dtype=np.int64)
    classes[:, 48:] = 3
    image = np.zeros((48, 96, 3), dtype=np.uint8)
    image[:, 48:] = 200
    noisy = np.where(rng.random(classes.shape) < 0.1, 7, classes)
    assert (refine(noisy, image) == classes).mean() > 0.999


def test_without_the_library_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(ConfigError, match="pip install pydensecrf2"):
        refine(np.zeros((2, 2), dtype=np.int64), np.zeros((2, 2, 3), dtype=np.uint8))
