"""From the image as the bag has it to a pinhole image, with the camera that belongs to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
import yaml

from occ_perception.bags.cameras import BagCamera
from occ_perception.core.camera import Camera
from occ_perception.core.errors import CalibrationError
from occ_perception.geometry.fisheye import MeiCamera, pinhole_grid, virtual_rotation
from occ_perception.geometry.transforms import Matrix

Image = npt.NDArray[np.uint8]
Values = npt.NDArray[np.generic]
Maps = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class FisheyeView:
    """A pinhole view cut out of a fisheye image.

    Attributes:
        width: Pixels.
        height: Pixels.
        focal: Focal lengths in normalised image coordinates (x, y); those of the rectified
            perspective camera in the published KITTI-360 preparation.
        centre: Principal point, normalised (x, y).
        about_x_deg: How the view is turned; -15 looks 15 degrees down.
        about_y_deg: The same about the vertical axis, mirrored for a lens that looks to the right.
    """

    width: int = 640
    height: int = 192
    focal: tuple[float, float] = (0.7849, 2.9391)
    centre: tuple[float, float] = (-0.0312, 0.2701)
    about_x_deg: float = -15.0
    about_y_deg: float = 0.0

    @property
    def K(self) -> npt.NDArray[np.float64]:  # noqa: N802
        """Normalised intrinsics `[3, 3]`, -1 and 1 at the centres of the outermost pixels."""
        (fx, fy), (cx, cy) = self.focal, self.centre
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


@dataclass(frozen=True, eq=False)
class Rectifier:
    """Makes pinhole images of one camera.

    Attributes:
        camera: Of the images that come out.
        maps: Where each pixel comes from; None = the image is taken as it is.
        R_source_view: `[3, 3]` how the view is turned against the camera; None = not at all.
    """

    camera: Camera
    maps: Maps | None = None
    R_source_view: Matrix | None = None

    def __call__(self, image: Image) -> Image:
        """The rectified image `[h, w, 3]`; black where the lens sees nothing."""
        if self.maps is None:
            return image
        return cv2.remap(image, *self.maps, cv2.INTER_LINEAR)

    def values(self, values: Values) -> Values:
        """Values `[H, W]` that must not be mixed, e.g. classes; 0 where the lens sees nothing."""
        return values if self.maps is None else cv2.remap(values, *self.maps, cv2.INTER_NEAREST)

    def depth(self, depth_m: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Depth `[H, W]` along the camera's axis as depth `[h, w]` along the view's, metres."""
        fitted = self.values(depth_m)
        if self.R_source_view is None:
            return fitted
        v, u = np.indices(fitted.shape)
        pixels = np.stack([u, v, np.ones_like(u)], axis=-1)
        directions = pixels @ np.linalg.inv(self.camera.K).T  # one metre along the view's axis
        along_camera = directions @ self.R_source_view[2]
        return (fitted / along_camera).astype(np.float32)


def rectifier(
    source: BagCamera,
    T_base_cam: Matrix,
    view: FisheyeView | None,
    read_mei: Callable[[], str | None],
) -> Rectifier:
    """How images of a camera become pinhole images.

    Args:
        source: Calibration from the bag.
        T_base_cam: Pose of the optical frame in the base.
        view: For fisheyes: what to cut out.
        read_mei: Gives the text of the exact fisheye calibration, if the bag has it.

    Raises:
        CalibrationError: Not calibrated, or a fisheye without a view.
    """
    if not source.is_calibrated:
        raise CalibrationError(
            f"camera {source.image} is not calibrated (its CameraInfo is all zero): "
            "calibrate it, or leave it out"
        )
    if source.model == "equidistant":
        if view is None:
            raise CalibrationError(
                f"camera {source.image} is a fisheye: say with `fisheye` which pinhole view to cut"
            )
        return _cut_view(source, T_base_cam, view, read_mei())
    camera = Camera(source.image, source.P, source.width, source.height, T_base_cam)
    if source.is_rectified:
        return Rectifier(camera)
    size = (source.width, source.height)
    D = np.array(source.D)
    maps = cv2.initUndistortRectifyMap(source.K, D, source.R, source.P, size, cv2.CV_32FC1)
    return Rectifier(camera, maps)


def _cut_view(
    source: BagCamera, T_base_cam: Matrix, view: FisheyeView, mei: str | None
) -> Rectifier:
    looks_left = T_base_cam[1, 2] >= 0
    about_y_deg = view.about_y_deg if looks_left else -view.about_y_deg
    R = virtual_rotation(view.about_x_deg, about_y_deg).double().numpy()
    to_pixels = np.array(
        [
            [(view.width - 1) / 2, 0, (view.width - 1) / 2],
            [0, (view.height - 1) / 2, (view.height - 1) / 2],
            [0, 0, 1],
        ]
    )
    K = to_pixels @ view.K
    T = np.eye(4)
    T[:3, :3] = R
    P = np.hstack([K, np.zeros((3, 1))])
    camera = Camera(source.image, P, view.width, view.height, T_base_cam @ T)
    if mei is None:
        size = (view.width, view.height)
        D = np.array(source.D)
        maps = cv2.fisheye.initUndistortRectifyMap(source.K, D, R.T, K, size, cv2.CV_32FC1)
        return Rectifier(camera, maps, R)
    body = mei.split("\n", 1)[-1] if mei.startswith("%YAML") else mei
    fisheye = MeiCamera.from_calibration(yaml.safe_load(body))
    grid = pinhole_grid(
        fisheye,
        torch.from_numpy(R).float(),
        torch.from_numpy(view.K).float(),
        (view.height, view.width),
    ).numpy()
    # Normalised coordinates have -1 and 1 at the centres of the outermost pixels.
    u = (grid[..., 0] + 1) / 2 * (source.width - 1)
    v = (grid[..., 1] + 1) / 2 * (source.height - 1)
    return Rectifier(camera, (u.astype(np.float32), v.astype(np.float32)), R)
