"""Lenses: from pixel to ray and back, for pinholes and for the MEI fisheye of KITTI-360."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def scale_matrix(sx: float, sy: float) -> FloatArray:
    """Pixel map of a resize; centres lie at integers, so c' = (c + 0.5) s - 0.5."""
    return np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1.0]])


@dataclass(frozen=True, eq=False)
class Pinhole:
    """Rectified camera.

    Attributes:
        K: `[3, 3]` intrinsics, pixels, pixel centres at integers.
        width: Image width.
        height: Image height.
    """

    K: FloatArray
    width: int
    height: int

    def rays(self, uv: FloatArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Unit rays `[..., 3]` of pixels `[..., 2]` (x right, y down) and all-true validity."""
        x = (uv[..., 0] - self.K[0, 2]) / self.K[0, 0]
        y = (uv[..., 1] - self.K[1, 2]) / self.K[1, 1]
        rays = np.stack((x, y, np.ones_like(x)), -1)
        return rays / np.linalg.norm(rays, axis=-1, keepdims=True), np.ones(x.shape, bool)

    def project(self, points: FloatArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Pixels `[..., 2]` of camera points `[..., 3]` and whether they are inside the image."""
        z = np.where(points[..., 2] > 1e-6, points[..., 2], np.inf)
        u = self.K[0, 0] * points[..., 0] / z + self.K[0, 2]
        v = self.K[1, 1] * points[..., 1] / z + self.K[1, 2]
        return np.stack((u, v), -1), _inside(u, v, self.width, self.height) & np.isfinite(z)

    def resized(self, width: int, height: int) -> Pinhole:
        """The lens of the resampled image."""
        scale = scale_matrix(width / self.width, height / self.height)
        return replace(self, K=scale @ self.K, width=width, height=height)

    def cropped(self, left: int, top: int, width: int, height: int) -> Pinhole:
        """The lens of a window of the image."""
        shift = np.array([[1.0, 0, -left], [0, 1.0, -top], [0, 0, 1]])
        return replace(self, K=shift @ self.K, width=width, height=height)

    @property
    def pixel_angle(self) -> float:
        """Angle of a pixel at the axis, radians."""
        return float(1.0 / self.K[0, 0])


@dataclass(frozen=True, eq=False)
class Mei:
    """Unified omnidirectional model with radial and tangential terms (Mei and Rives 2007).

    Attributes:
        xi: Mirror parameter.
        k1: Radial term of r^2.
        k2: Radial term of r^4.
        p1: Tangential term.
        p2: Tangential term.
        K: `[3, 3]` generalised intrinsics gamma1, gamma2, u0, v0, pixels.
        width: Image width.
        height: Image height.
        limit_rad: Half field of view; pixels beyond see nothing.
    """

    xi: float
    k1: float
    k2: float
    p1: float
    p2: float
    K: FloatArray
    width: int
    height: int
    limit_rad: float = np.deg2rad(94.0)

    def _distort(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        r2 = x * x + y * y
        radial = 1.0 + self.k1 * r2 + self.k2 * r2 * r2
        return (
            x * radial + 2 * self.p1 * x * y + self.p2 * (r2 + 2 * x * x),
            y * radial + self.p1 * (r2 + 2 * y * y) + 2 * self.p2 * x * y,
        )

    def project(self, points: FloatArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Pixels `[..., 2]` of camera points `[..., 3]` and whether the lens sees them."""
        unit = points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-12)
        z = np.maximum(unit[..., 2] + self.xi, 1e-6)
        x, y = self._distort(unit[..., 0] / z, unit[..., 1] / z)
        u = self.K[0, 0] * x + self.K[0, 2]
        v = self.K[1, 1] * y + self.K[1, 2]
        seen = unit[..., 2] >= np.cos(self.limit_rad)
        return np.stack((u, v), -1), seen & _inside(u, v, self.width, self.height)

    def rays(self, uv: FloatArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Unit rays `[..., 3]` of pixels `[..., 2]` and whether they lie in the image circle.

        The distortion is inverted by Newton's method on the exact 2x2 Jacobian.
        """
        mx = (uv[..., 0] - self.K[0, 2]) / self.K[0, 0]
        my = (uv[..., 1] - self.K[1, 2]) / self.K[1, 1]
        # The edge of the mirror: no direction lies outside this radius.
        edge = 1.0 / np.sqrt(self.xi**2 - 1.0) if self.xi > 1 else np.inf
        x, y = self._undistort(mx, my, edge)
        r2 = x * x + y * y
        root = 1.0 + (1.0 - self.xi**2) * r2
        scale = (self.xi + np.sqrt(np.maximum(root, 0.0))) / (1.0 + r2)
        rays = np.stack((scale * x, scale * y, scale - self.xi), -1)
        ex, ey = self._distort(x, y)
        closed = np.hypot(ex - mx, ey - my) < 1e-9
        seen = closed & (root > 0) & (rays[..., 2] >= np.cos(self.limit_rad))
        rays = np.where(seen[..., None], rays, (0.0, 0.0, 1.0))
        return rays, seen

    def _undistort(
        self, mx: FloatArray, my: FloatArray, edge: float
    ) -> tuple[FloatArray, FloatArray]:
        shrink = np.minimum(1.0, 0.9 * edge / np.maximum(np.hypot(mx, my), 1e-12))
        x, y = mx * shrink, my * shrink
        for _ in range(20):
            r2 = x * x + y * y
            radial, slope = 1 + self.k1 * r2 + self.k2 * r2 * r2, self.k1 + 2 * self.k2 * r2
            ex, ey = self._distort(x, y)
            jxx = radial + 2 * x * x * slope + 2 * self.p1 * y + 6 * self.p2 * x
            jyy = radial + 2 * y * y * slope + 6 * self.p1 * y + 2 * self.p2 * x
            jxy = 2 * x * y * slope + 2 * self.p1 * x + 2 * self.p2 * y
            det = jxx * jyy - jxy * jxy
            fx, fy = ex - mx, ey - my
            x = np.clip(x - (jyy * fx - jxy * fy) / det, -edge, edge)
            y = np.clip(y - (jxx * fy - jxy * fx) / det, -edge, edge)
        return x, y

    def resized(self, width: int, height: int) -> Mei:
        """The lens of the resampled image."""
        scale = scale_matrix(width / self.width, height / self.height)
        return replace(self, K=scale @ self.K, width=width, height=height)

    @property
    def pixel_angle(self) -> float:
        """Angle of a pixel at the axis, radians."""
        return float((1.0 + self.xi) / self.K[0, 0])


Lens = Pinhole | Mei


def _inside(u: FloatArray, v: FloatArray, width: int, height: int) -> npt.NDArray[np.bool_]:
    return (u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)
