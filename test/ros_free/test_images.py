"""Every encoding comes out as the colours that went in; every lie is an ImageError."""

import cv2
import numpy as np
import pytest
from ros_free.stand_ins import compressed, image

from occ_perception.core.errors import ImageError
from occ_perception.ros import images

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
GREY = RGB[..., 0]
ALPHA = np.full((6, 8, 1), 9, np.uint8)


def wide(pixels):
    return pixels.astype(np.uint16) * 257


@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("8UC3", RGB[..., ::-1]),
        ("rgba8", np.concatenate([RGB, ALPHA], -1)),
        ("bgra8", np.concatenate([RGB[..., ::-1], ALPHA], -1)),
        ("rgb16", wide(RGB)),
        ("bgr16", wide(RGB[..., ::-1])),
    ],
)
def test_colour_encodings(encoding, pixels):
    decoded = images.decode(image(np.ascontiguousarray(pixels), encoding))
    np.testing.assert_array_equal(decoded.rgb, RGB)
    assert not decoded.is_grey


@pytest.mark.parametrize(
    ("encoding", "pixels"), [("mono8", GREY), ("8UC1", GREY), ("mono16", wide(GREY))]
)
def test_grey_encodings_become_three_equal_channels(encoding, pixels):
    decoded = images.decode(image(pixels, encoding))
    np.testing.assert_array_equal(decoded.rgb, np.repeat(GREY[..., None], 3, -1))
    assert decoded.is_grey


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
def test_bayer_patterns(pattern, bits):
    """A field of one colour, mosaicked as the name says, has that colour again inside."""
    colour = dict(zip("rgb", (200, 100, 40), strict=True))
    tile = np.array([colour[letter] for letter in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(tile, (6, 6))
    decoded = images.decode(image(mosaic if bits == 8 else wide(mosaic), f"bayer_{pattern}{bits}"))
    assert (decoded.rgb[4:8, 4:8] == (200, 100, 40)).all()


@pytest.mark.parametrize(
    ("encoding", "order"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuyv", "yuyv"),
                            ("yuv422_yuy2", "yuyv")]
)  # fmt: skip
def test_yuv_orders(encoding, order):
    """BT.601 red in video range: Y 81, U 90, V 240."""
    parts = iter({"y": 81, "u": 90, "v": 240}[letter] for letter in order)
    row = np.array(list(parts) * 4, np.uint8).reshape(8, 2)
    decoded = images.decode(image(np.stack([row] * 6), encoding))
    assert np.abs(decoded.rgb.astype(int) - (255, 0, 0)).max() <= 3


def test_padded_rows_are_skipped_and_the_last_padding_may_be_missing():
    padded = np.concatenate([RGB.reshape(6, 24), np.full((6, 5), 77, np.uint8)], 1)
    for data in (padded.tobytes(), padded.tobytes()[:-5]):
        decoded = images.decode(image(RGB, "rgb8", step=29, data=data))
        np.testing.assert_array_equal(decoded.rgb, RGB)


def test_big_endian_words():
    decoded = images.decode(image(wide(GREY).astype(">u2"), "mono16", big_endian=True))
    np.testing.assert_array_equal(decoded.rgb[..., 0], GREY)
    depth = images.decode_depth(image(np.array([[1500]], ">u2"), "16UC1", big_endian=True))
    assert depth[0, 0] == pytest.approx(1.5)


def test_the_result_does_not_share_the_messages_memory():
    data = bytearray(RGB.tobytes())
    decoded = images.decode(image(RGB, "rgb8", data=data))
    data[:] = bytes(len(data))
    np.testing.assert_array_equal(decoded.rgb, RGB)


def test_depth_units_and_missing_depths():
    metres = np.array([[1.5, np.nan, np.inf, -1, 0]], np.float32)
    np.testing.assert_array_equal(images.decode_depth(image(metres, "32FC1")), [[1.5, 0, 0, 0, 0]])
    millimetres = np.array([[2500, 0]], np.uint16)
    np.testing.assert_allclose(images.decode_depth(image(millimetres, "16UC1")), [[2.5, 0]])


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (image(RGB, "hsv8"), ["'hsv8' is unknown", "rgb8"]),
        (image(RGB, ""), ["'' is unknown"]),
        (image(wide(GREY), "16UC1"), ["'16UC1' is a depth encoding"]),
        (image(RGB, "rgb8", step=23), ["step of 23", "needs 24"]),
        (image(RGB, "rgb8", data=RGB.tobytes()[:-1]), ["143 bytes", "need 144", "truncated"]),
        (image(RGB, "rgb8", data=b""), ["0 bytes"]),
        (image(RGB, "rgba8"), ["step of 24", "needs 32"]),
        (compressed(b"", "jpeg"), ["0 bytes", "neither JPEG nor PNG"]),
        (compressed(b"RIFF....WEBP", "webp"), ["'webp'", "neither"]),
        (compressed(b"x", "16UC1; compressedDepth png"), ["depth image"]),
    ],
)
def test_lies_are_told_in_one_sentence(message, words):
    with pytest.raises(ImageError) as caught:
        images.decode(message)
    for word in words:
        assert word in str(caught.value)


def test_an_empty_image_is_refused():
    message = image(RGB, "rgb8")
    message.width = 0
    with pytest.raises(ImageError, match="empty"):
        images.decode(message)


def test_depth_refuses_colour():
    with pytest.raises(ImageError, match="32FC1"):
        images.decode_depth(image(RGB, "rgb8"))


def encoded(pixels_bgr, extension):
    return cv2.imencode(extension, np.ascontiguousarray(pixels_bgr))[1].tobytes()


RED = np.zeros((16, 16, 3), np.uint8) + np.array([250, 10, 20], np.uint8)


@pytest.mark.parametrize(
    "form", ["png", "bgr8; png compressed bgr8", "rgb8; png compressed bgr8", ""]
)
def test_png_keeps_the_colours_exactly(form):
    decoded = images.decode(compressed(encoded(RGB[..., ::-1], ".png"), form))
    np.testing.assert_array_equal(decoded.rgb, RGB)


@pytest.mark.parametrize("form", ["jpeg", "jpg", "rgb8; jpeg compressed bgr8"])
def test_jpeg_keeps_the_colours(form):
    decoded = images.decode(compressed(encoded(RED[..., ::-1], ".jpg"), form))
    assert np.abs(decoded.rgb.astype(int) - RED).max() <= 4
    assert not decoded.is_grey


def test_a_writer_that_swapped_the_channels_and_says_so_is_understood():
    decoded = images.decode(
        compressed(encoded(RGB, ".png"), "rgb8; png compressed rgb8")  # imencode takes BGR
    )
    np.testing.assert_array_equal(decoded.rgb, RGB)


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_grey_files_are_said_to_be_grey(extension):
    decoded = images.decode(compressed(encoded(GREY, extension), "mono8; compressed mono8"))
    assert decoded.is_grey
    assert decoded.rgb.shape == (6, 8, 3)
    if extension == ".png":
        np.testing.assert_array_equal(decoded.rgb[..., 2], GREY)


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_truncated_files_are_refused(extension):
    whole = encoded(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), extension)
    images.decode(compressed(whole + bytes(100), "x"))  # cameras pad with zeros
    for length in (len(whole) // 2, len(whole) - 1):
        with pytest.raises(ImageError, match="ends early"):
            images.decode(compressed(whole[:length], "x"))


def test_a_file_with_a_rotten_middle_is_refused():
    whole = encoded(RGB, ".png")
    with pytest.raises(ImageError, match="cannot be decoded"):
        images.decode(compressed(whole[:8] + bytes(20) + whole[28:], "png"))
