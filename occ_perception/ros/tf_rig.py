"""Calibrated cameras in the grid's frame, from CameraInfo and TF. Messages are duck-typed."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from occ_perception.core.camera import Camera
from occ_perception.core.errors import CalibrationError, TransformError
from occ_perception.geometry.transforms import Matrix, transform
from occ_perception.ros.messages import stamp_ns
from occ_perception.ros.topics import info_input
from occ_perception.sync.transforms_buffer import TransformBuffer
from occ_perception.systems.base import Needs

# A rectified pair differs by a shift along the image rows; calibrations are good to about this.
_ROTATION_TOLERANCE = 5e-3
_OFF_AXIS_TOLERANCE = 0.02
# Drivers and bags publish the first CameraInfo a little after the first image.
_FIRST_INFO_S = 1.0


def feed(buffer: TransformBuffer, message: Any, *, is_static: bool) -> list[str]:
    """Put a tf2_msgs/TFMessage into the buffer; return a sentence for each refused transform."""
    refused = []
    for item in message.transforms:
        t, q = item.transform.translation, item.transform.rotation
        parent, child = item.header.frame_id, item.child_frame_id
        try:
            T = transform((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
            buffer.set(parent, child, T, None if is_static else stamp_ns(item.header.stamp))
        except TransformError as error:
            refused.append(f"ignored a transform '{parent}' -> '{child}': {error}")
    return refused


def projection(info: Any, name: str) -> Matrix:
    """`[3, 4]` projection of the rectified image, pixels of the calibrated resolution.

    Args:
        info: sensor_msgs/CameraInfo.
        name: Role of the camera, for the error.

    Raises:
        CalibrationError: P and K are zero, NaN, or K alone cannot stand for a distorted image.
    """
    P = np.asarray(info.p, np.float64).reshape(3, 4)
    K = np.asarray(info.k, np.float64).reshape(3, 3)
    if not (np.isfinite(P).all() and np.isfinite(K).all()):
        raise CalibrationError(f"camera '{name}': K or P of its CameraInfo holds NaN; recalibrate")
    if P[0, 0] > 0:
        return P
    if K[0, 0] > 0 and not np.any(np.asarray(info.d)):
        return np.hstack([K, np.zeros((3, 1))])
    raise CalibrationError(
        f"camera '{name}' is uncalibrated: its CameraInfo has P of zeros (K fx {K[0, 0]:g}); "
        "calibrate the camera and publish the P of the rectified image"
    )


def camera_of(info: Any, name: str) -> Camera:
    """Camera of the image stream that a CameraInfo describes, without pose.

    P refers to the whole sensor; region of interest and binning are applied here.

    Raises:
        CalibrationError: The CameraInfo is unusable.
    """
    camera = Camera(name, projection(info, name), int(info.width), int(info.height))
    roi = info.roi
    if roi.width and roi.height:
        camera = camera.cropped(
            int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)
        )
    bins = max(1, int(info.binning_x)), max(1, int(info.binning_y))
    if bins != (1, 1):
        camera = camera.resized(camera.width // bins[0], camera.height // bins[1])
    return camera


@dataclass(eq=False)
class _Cached:
    key: bytes
    camera: Camera


class CameraRig:
    """The newest calibration of every camera, and where each was at a stamp; thread-safe."""

    def __init__(
        self, needs: Needs, buffer: TransformBuffer, grid_frame: str, timeout_s: float
    ) -> None:
        """Start without calibrations.

        Args:
            needs: Roles of the cameras; a stereo pair shares the pose of its first camera.
            buffer: Transforms.
            grid_frame: Frame that poses are given in.
            timeout_s: How long to wait for a transform, seconds.
        """
        self._needs = needs
        self._buffer = buffer
        self._grid_frame = grid_frame
        self._timeout_s = timeout_s
        self._infos: dict[str, Any] = {}
        self._cache: dict[str, _Cached] = {}
        self._changed = threading.Condition()

    def set_info(self, role: str, info: Any) -> None:
        """Store the newest CameraInfo of a camera."""
        with self._changed:
            self._infos[role] = info
            self._changed.notify_all()

    def frame_of(self, role: str) -> str:
        """Optical frame of a camera whose CameraInfo came."""
        return str(self._info(role).header.frame_id)

    def camera(self, role: str, time_ns: int) -> Camera:
        """The calibrated camera with its pose in the grid's frame.

        The same object as before while neither calibration nor pose changes, so that whatever is
        derived from it can be kept.

        Args:
            role: Which camera.
            time_ns: Stamp of its image.

        Raises:
            CalibrationError: No or no usable CameraInfo, or the pair is not rectified.
            TransformError: TF does not connect camera and grid at that time.
        """
        first = self._needs.cameras[0]
        info = self._info(role)
        # REP 104 and stereo_image_proc: both P of a pair start from the left optical frame.
        pose_info = self._info(first) if self._needs.stereo else info
        T_grid_cam = self._pose(self._grid_frame, pose_info, time_ns)
        camera = camera_of(info, role)
        if self._needs.stereo and role != first and camera.P[0, 3] == 0:
            camera = replace(camera, P=self._with_baseline(camera, pose_info, info, time_ns))
        size = np.array([camera.width, camera.height])
        key = b"".join(a.tobytes() for a in (camera.P, size, T_grid_cam))
        cached = self._cache.get(role)
        if cached is None or cached.key != key:
            cached = _Cached(key, replace(camera, T_base_cam=T_grid_cam))
            self._cache[role] = cached
        return cached.camera

    def _info(self, role: str) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: role in self._infos, _FIRST_INFO_S)
            if role not in self._infos:
                raise CalibrationError(
                    f"camera '{role}' has no CameraInfo yet; publish it or remap {info_input(role)}"
                )
            return self._infos[role]

    def _pose(self, target: str, info: Any, time_ns: int) -> Matrix:
        return self._buffer.lookup(target, info.header.frame_id, time_ns, self._timeout_s)

    def _with_baseline(self, camera: Camera, left: Any, right: Any, time_ns: int) -> Matrix:
        """P of the second camera where its CameraInfo leaves the baseline to TF."""
        T_left_right = self._pose(left.header.frame_id, right, time_ns)
        x_m, y_m, z_m = T_left_right[:3, 3]
        is_turned = np.abs(T_left_right[:3, :3] - np.eye(3)).max() > _ROTATION_TOLERANCE
        if x_m <= 0 or is_turned or max(abs(y_m), abs(z_m)) > _OFF_AXIS_TOLERANCE * x_m:
            raise CalibrationError(
                f"camera '{camera.name}' states no baseline (P[0,3] = 0) and lies at "
                f"({x_m:.3f}, {y_m:.3f}, {z_m:.3f}) m of '{left.header.frame_id}': that is no "
                "rectified pair; publish the P of a stereo calibration"
            )
        P = camera.P.copy()
        P[0, 3] = -P[0, 0] * x_m
        return P


def distortion_warning(role: str, topic: str, info: Any) -> str:
    """A sentence if the image stream is probably not rectified, else an empty string.

    CameraInfo cannot tell: it carries the lens's coefficients beside rectified images as well.
    """
    if not np.any(np.asarray(info.d)) or "rect" in topic:
        return ""
    return (
        f"camera '{role}' has lens distortion and its topic '{topic}' does not look rectified; "
        "subscribe to the rectified image (image_proc), or voxels land in wrong places"
    )
