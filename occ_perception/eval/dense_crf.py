"""Dense CRF behind 2D segmentation (Krähenbühl and Koltun 2011), as STEGO and SceneDINO use it."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from occ_perception.core.errors import ConfigError

# Published settings: strength and reach (pixels, grey levels) of the two kernels.
_ITERATIONS = 10
_NEAR_WEIGHT, _NEAR_PX = 3, 0.3
_ALIKE_WEIGHT, _ALIKE_PX, _ALIKE_LEVELS = 4, 20, 3


def _library(name: str) -> Any:
    try:
        return importlib.import_module(f"pydensecrf.{name}")
    except ImportError as error:
        raise ConfigError(
            "the dense CRF needs the optional library pydensecrf; install it with "
            "'pip install pydensecrf2==1.1' (compiles, needs a C++ compiler) or score without it"
        ) from error


def refine(
    classes: npt.NDArray[np.integer], image: npt.NDArray[np.uint8], count: int = 19
) -> npt.NDArray[np.int64]:
    """Classes that follow the edges of the picture.

    Args:
        classes: `[H, W]` predicted classes.
        image: `[H, W, 3]` picture; the channel order plays no part.
        count: Number of classes.

    Raises:
        ConfigError: The optional library is not installed.
    """
    library, helpers = _library("densecrf"), _library("utils")
    height, width = classes.shape
    logits = np.eye(count, dtype=np.float32)[classes].transpose(2, 0, 1)
    share = np.exp(logits) / np.exp(logits).sum(axis=0)
    crf = library.DenseCRF2D(width, height, count)
    crf.setUnaryEnergy(np.ascontiguousarray(helpers.unary_from_softmax(share)))
    crf.addPairwiseGaussian(sxy=_NEAR_PX, compat=_NEAR_WEIGHT)
    crf.addPairwiseBilateral(
        sxy=_ALIKE_PX, srgb=_ALIKE_LEVELS, rgbim=np.ascontiguousarray(image), compat=_ALIKE_WEIGHT
    )
    return np.asarray(crf.inference(_ITERATIONS)).argmax(axis=0).reshape(height, width)
