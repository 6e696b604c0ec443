"""What a teacher says about an image, as messages of a bag: exact, and as small as that allows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from occ_perception.core.errors import ConfigError

MAX_PNG_DEPTH_M = 65.535  # 16 bits of millimetres (REP 118)


@dataclass(frozen=True, eq=False)
class Answer:
    """Values about one image.

    Attributes:
        topic: Topic of the layer.
        stamp_ns: Stamp of the image.
        frame_id: Optical frame of the image.
        values: `[H, W]` uint8 or uint16 (kept as PNG), `[H, W]` or `[H, W, C]` float16 or float32.
    """

    topic: str
    stamp_ns: int
    frame_id: str
    values: npt.NDArray[np.generic]


def message_of(answer: Answer) -> tuple[str, dict[str, object]]:
    """Type and fields of the message.

    Raises:
        ConfigError: Values of a kind that no layer has.
    """
    stamp = {"sec": answer.stamp_ns // 10**9, "nanosec": answer.stamp_ns % 10**9}
    header = {"stamp": stamp, "frame_id": answer.frame_id}
    if answer.values.dtype in (np.uint8, np.uint16):
        _, data = cv2.imencode(".png", answer.values)
        picture = {"header": header, "format": "png", "data": data.ravel()}
        return "sensor_msgs/msg/CompressedImage", picture
    return "sensor_msgs/msg/Image", {"header": header, **_raw(answer.values)}


def _raw(values: npt.NDArray[np.generic]) -> dict[str, object]:
    kinds = {np.dtype(np.float16): "16F", np.dtype(np.float32): "32F"}
    if values.dtype not in kinds or values.ndim not in (2, 3):
        raise ConfigError(f"a label layer cannot hold {values.ndim}-d values of {values.dtype}")
    height, width, *channels = values.shape
    count = channels[0] if channels else 1
    rows = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return {
        "height": height,
        "width": width,
        "encoding": f"{kinds[values.dtype]}C{count}",
        "step": values.itemsize * width * count,
        "data": rows.reshape(height, -1).view(np.uint8).ravel(),
    }


def packed_depth(depth_m: npt.NDArray[np.float32], form: str) -> npt.NDArray[np.generic]:
    """Depth as it is kept: "fp16" in metres, or "png16" in millimetres without what is too far.

    Args:
        depth_m: `[H, W]` metres, 0 = none.
        form: "fp16" or "png16".
    """
    if form == "fp16":
        return depth_m.astype(np.float16)
    near = np.where(depth_m <= MAX_PNG_DEPTH_M, depth_m, 0.0)
    return np.rint(near * 1000).astype(np.uint16)


def depth_of_layer(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Depth `[H, W]` float32 metres, 0 = none, of a layer's values in either form."""
    scale = 0.001 if values.dtype == np.uint16 else 1.0
    depth_m = values.astype(np.float32) * np.float32(scale)
    return np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m, np.float32(0))
