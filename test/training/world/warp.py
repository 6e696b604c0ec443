"""Looking up pictures between pixels."""

import numpy as np


def bilinear(image, uv):
    """Values of a grey image at pixels (u, v)."""
    u, v = uv[..., 0], uv[..., 1]
    i = np.floor(v).astype(int).clip(0, image.shape[0] - 2)
    j = np.floor(u).astype(int).clip(0, image.shape[1] - 2)
    a, b = v - i, u - j
    top = (1 - b) * image[i, j] + b * image[i, j + 1]
    return (1 - a) * top + a * ((1 - b) * image[i + 1, j] + b * image[i + 1, j + 1])
