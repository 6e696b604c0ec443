from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from occ_perception.bags.images import decode_depth_m, decode_rgb, decode_values
from occ_perception.core.errors import ImageError

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def raw(pixels, encoding, pad=0, big=False):
    height, width = pixels.shape[:2]
    stored = pixels.astype(pixels.dtype.newbyteorder(">")) if big else pixels
    rows = np.ascontiguousarray(stored).reshape(height, -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, pad)))
    return SimpleNamespace(
        encoding=encoding, width=width, height=height, step=rows.shape[1], data=rows.ravel(),
        is_bigendian=big,
    )  # fmt: skip


def compressed(pixels, suffix=".png", form="png"):
    return SimpleNamespace(data=cv2.imencode(suffix, pixels)[1].ravel(), format=form)


@pytest.mark.parametrize("pad", [0, 3])
def test_raw_colours(pad):
    np.testing.assert_array_equal(decode_rgb(raw(RGB, "rgb8", pad)), RGB)
    np.testing.assert_array_equal(decode_rgb(raw(RGB[..., ::-1], "bgr8", pad)), RGB)
    grey = decode_rgb(raw(RGB[..., 0], "mono8", pad))
    np.testing.assert_array_equal(grey, np.repeat(RGB[..., :1], 3, axis=-1))


def test_compressed_colours():
    np.testing.assert_array_equal(decode_rgb(compressed(RGB[..., ::-1])), RGB)
    swapped = compressed(RGB, form="rgb8; png compressed rgb8")
    np.testing.assert_array_equal(decode_rgb(swapped), RGB)
    assert decode_rgb(compressed(RGB[..., 0])).shape == (5, 7, 3)


@pytest.mark.parametrize("big", [False, True])
def test_values_keep_their_type(big):
    labels = np.arange(35, dtype=np.uint16).reshape(5, 7) * 1000
    np.testing.assert_array_equal(decode_values(raw(labels, "mono16", big=big)), labels)
    np.testing.assert_array_equal(decode_values(compressed(labels)), labels)
    assert decode_values(compressed(labels)).dtype == np.uint16
    flow = np.random.default_rng(0).normal(size=(5, 7, 2)).astype(np.float32)
    np.testing.assert_array_equal(decode_values(raw(flow, "32FC2", big=big)), flow)


def test_depth_in_metres():
    depth = np.array([[1500, 0]], np.uint16)
    np.testing.assert_allclose(decode_depth_m(raw(depth, "16UC1")), [[1.5, 0]])
    metres = np.array([[2.5, np.nan, np.inf, -1]], np.float32)
    np.testing.assert_array_equal(decode_depth_m(raw(metres, "32FC1")), [[2.5, 0, 0, 0]])
    with pytest.raises(ImageError, match="depth"):
        decode_depth_m(raw(RGB, "rgb8"))


def test_lies_are_refused():
    short = raw(RGB, "rgb8")
    short.data = short.data[:-1]
    narrow = raw(RGB, "rgb8")
    narrow.step = 20
    cut = compressed(RGB)
    cut.data = cut.data[:-10]
    other = SimpleNamespace(data=np.zeros(100, np.uint8), format="webp")
    for message in (short, narrow, raw(RGB, "rgb9"), cut, other):
        with pytest.raises(ImageError):
            decode_rgb(message)
    with pytest.raises(ImageError, match="camera picture"):
        decode_rgb(raw(np.zeros((5, 7), np.uint16), "mono16"))
