"""Messages of what systems offer beside voxels: depth, pictures, Gaussians, flow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from occ_perception.core.camera import Camera
from occ_perception.core.labels import LabelMap
from occ_perception.ros.messages import set_header

_ARROW, _DELETE_ALL = 0, 3
_SHAFT_M, _HEAD_M = 0.12, 0.3


def depth_image(types: Any, depth_m: npt.NDArray[np.float32], time_ns: int, frame_id: str) -> Any:
    """sensor_msgs/Image 32FC1 of metres along the optical axis (REP 118); NaN = no statement."""
    return _image(types, np.asarray(depth_m, np.float32), "32FC1", time_ns, frame_id)


def colour_image(types: Any, picture: npt.NDArray[np.uint8], time_ns: int, frame_id: str) -> Any:
    """sensor_msgs/Image rgb8 of `[h, w, 3]` uint8."""
    return _image(types, np.asarray(picture, np.uint8), "rgb8", time_ns, frame_id)


def _image(types: Any, pixels: npt.NDArray[Any], encoding: str, time_ns: int, frame: str) -> Any:
    message = types.Image(encoding=encoding, is_bigendian=0)
    set_header(message.header, time_ns, frame)
    message.height, message.width = int(pixels.shape[0]), int(pixels.shape[1])
    message.step = int(pixels[0].nbytes)
    message.data.frombytes(np.ascontiguousarray(pixels).view(np.uint8))
    return message


def camera_info(types: Any, camera: Camera, time_ns: int, frame_id: str) -> Any:
    """sensor_msgs/CameraInfo of a rectified camera."""
    message = types.CameraInfo(distortion_model="plumb_bob", d=[0.0] * 5)
    set_header(message.header, time_ns, frame_id)
    message.width, message.height = int(camera.width), int(camera.height)
    message.k = camera.K.astype(np.float64).ravel()
    message.r = np.eye(3).ravel()
    message.p = camera.P.astype(np.float64).ravel()
    return message


def semantic_gaussians(
    types: Any,
    extras: dict[str, npt.NDArray[Any]],
    labels: LabelMap,
    time_ns: int,
    frame_id: str,
) -> Any:
    """occ_msgs/SemanticGaussians.

    Args:
        types: Message classes.
        extras: "means" `[g, 3]` m, "scales" `[g, 3]` m, "quaternions" `[g, 4]` w x y z, "opacities"
            `[g, 1]`, "classes" `[g]` uint8 and, where motion was asked for, "flow" `[g, 3]` m/s.
        labels: What the classes are.
        time_ns: Stamp of the images.
        frame_id: Frame of the Gaussians.
    """
    message = types.SemanticGaussians(label_map=str(labels.name), feature_dim=0)
    set_header(message.header, time_ns, frame_id)
    parts = {"means": "means", "scales": "scales", "quaternions": "rotations",
             "opacities": "opacities", "flow": "flow"}  # fmt: skip
    for ours, theirs in parts.items():
        if ours in extras:
            values = np.ascontiguousarray(extras[ours], np.float32)
            getattr(message, theirs).frombytes(values.tobytes())
    message.labels.frombytes(np.ascontiguousarray(extras["classes"], np.uint8))
    return message


def flow_arrows(
    types: Any,
    extras: dict[str, npt.NDArray[Any]],
    labels: LabelMap,
    time_ns: int,
    frame_id: str,
    limit: int,
) -> Any:
    """visualization_msgs/MarkerArray: where the fastest Gaussians are half a second later.

    Args:
        types: Message classes.
        extras: As for `semantic_gaussians`, with "flow".
        labels: What the classes are, for the colours.
        time_ns: Stamp of the images.
        frame_id: Frame of the Gaussians.
        limit: Most arrows; a message object each.
    """
    # What is slower than a person strolls, or hardly there, is noise.
    speed = np.linalg.norm(extras["flow"], axis=1) * (extras["opacities"][:, 0] > 0.1)
    fastest = np.argsort(-speed)[:limit]
    palette = labels.palette() / 255.0
    markers = [types.Marker(ns="flow", action=_DELETE_ALL)]
    set_header(markers[0].header, time_ns, frame_id)
    for index in fastest[speed[fastest] > 0.5]:
        start = extras["means"][index]
        colour = palette[extras["classes"][index]]
        markers.append(_arrow(types, start, start + 0.5 * extras["flow"][index], colour))
        set_header(markers[-1].header, time_ns, frame_id)
        markers[-1].id = len(markers)
    return types.MarkerArray(markers=markers)


def _arrow(types: Any, start: Any, end: Any, colour: Any) -> Any:
    marker = types.Marker(ns="flow", type=_ARROW, action=0)
    marker.pose.orientation.w = 1.0
    marker.scale.x, marker.scale.y, marker.scale.z = _SHAFT_M, _HEAD_M, _HEAD_M
    marker.points = [types.Point(x=float(p[0]), y=float(p[1]), z=float(p[2])) for p in (start, end)]
    marker.color = types.ColorRGBA(**dict(zip("rgb", map(float, colour), strict=True)), a=1.0)
    return marker
