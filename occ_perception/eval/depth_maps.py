"""Sparse depth images of single LiDAR scans, exactly as the published depth metrics use them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Map = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.floating]

# Garg crop (rows, columns) and depth range of the Eigen protocol.
_GARG_ROWS, _GARG_COLUMNS = (0.40810811, 0.99189189), (0.03594771, 0.96405229)
_EIGEN_RANGE_M = (1e-3, 80.0)


def kitti360_depth(points: Matrix, P_image_velo: Matrix, size: tuple[int, int]) -> Map:
    """Depth of a scan in a KITTI-360 view.

    Args:
        points: `[n, 3]` or more columns, LiDAR frame, metres.
        P_image_velo: `[3, 4]` normalised projection of the LiDAR frame.
        size: Height and width of the map, pixels.

    Returns:
        `[H, W]` depth along the optical axis, metres; 0 = no point.
    """
    height, width = size
    xyz = points[:, :3].astype(np.float32)
    uvz = xyz @ P_image_velo[:, :3].T.astype(np.float32) + P_image_velo[:, 3].astype(np.float32)
    uv = uvz[:, :2] / uvz[:, 2:] * np.float32(0.5) + np.float32(0.5)
    pixels = np.rint(uv * np.array([width, height], dtype=np.float32))
    return np.maximum(_nearest(pixels, uvz[:, 2], size), 0)


def kitti_raw_depth(points: Matrix, P_image_velo: Matrix, size: tuple[int, int]) -> Map:
    """Depth of a scan in a KITTI Raw view, restricted to the crop and range of the Eigen test.

    Args:
        points: `[n, 3]` or more columns, LiDAR frame, metres.
        P_image_velo: `[3, 4]` pixel projection of the LiDAR frame.
        size: Height and width of the image, pixels.
    """
    front = points[points[:, 0] >= 0, :3].astype(np.float64)
    uvz = front @ P_image_velo[:, :3].T + P_image_velo[:, 3]
    pixels = np.rint(uvz[:, :2] / uvz[:, 2:]) - 1  # KITTI counts pixels from one
    depth = _nearest(pixels, uvz[:, 2].astype(np.float32), size)
    rows, columns = (
        slice(*(int(bound * side) for bound in bounds))
        for bounds, side in zip((_GARG_ROWS, _GARG_COLUMNS), size, strict=True)
    )
    cropped = np.zeros_like(depth)
    cropped[rows, columns] = depth[rows, columns]
    near, far = _EIGEN_RANGE_M
    return np.where((cropped > near) & (cropped < far), cropped, np.float32(0))


def _nearest(pixels: Matrix, depth: npt.NDArray[np.float32], size: tuple[int, int]) -> Map:
    """Scatter depths; where several points meet, the smallest wins.

    Meeting is decided by the key `v * (W - 1) + u`, which the end of a row shares with the start of
    the next: then only the first point's pixel gets the minimum. Published numbers contain it.
    """
    height, width = size
    inside = (pixels >= 0).all(axis=1) & (pixels < (width, height)).all(axis=1)
    u, v = pixels[inside].astype(np.int64).T
    z = depth[inside].astype(np.float32)
    image = np.zeros(size, dtype=np.float32)
    image[v, u] = z
    order = np.argsort(v * (width - 1) + u, kind="stable")
    keys = (v * (width - 1) + u)[order]
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]) if len(keys) else keys
    first = order[starts]
    several = np.diff(np.r_[starts, len(keys)]) > 1
    lowest = np.minimum.reduceat(z[order], starts) if len(keys) else z
    image[v[first[several]], u[first[several]]] = lowest[several]
    return image
