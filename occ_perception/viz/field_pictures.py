"""Pictures of a density field: occupied cells as a mesh, depth as a coloured image."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps

# Corners of a cell as offsets in the grid of points, and its six sides.
_CORNERS = np.array(
    [[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0], [1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 1, 1]]
)
_SIDES = np.array(
    [[0, 1, 2, 3], [0, 3, 7, 4], [2, 6, 7, 3], [1, 2, 6, 5], [0, 1, 5, 4], [4, 5, 6, 7]]
)


class Mesh(NamedTuple):
    """Quads with one colour each.

    Attributes:
        vertices: `[v, 3]` metres.
        faces: `[f, 4]` vertex indices.
        colours: `[f, 3]` RGB.
    """

    vertices: npt.NDArray[np.float32]
    faces: npt.NDArray[np.int32]
    colours: npt.NDArray[np.uint8]


def magma(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """RGB `[..., 3]` in the magma palette of values 0..1 (float) or 0..255 (integer)."""
    return np.rint(colormaps["magma"](values)[..., :3] * 255).astype(np.uint8)


def height_colours(heights: int) -> npt.NDArray[np.uint8]:
    """Colours of the height indices of a mesh, index 0 brightest."""
    return magma(1 - (np.arange(heights) + 0.5) / heights)


def cell_mesh(
    points: npt.NDArray[np.floating],
    occupied: npt.NDArray[np.bool_],
    palette: npt.NDArray[np.uint8],
) -> Mesh:
    """Cubes of the occupied cells between grid points.

    Args:
        points: `[X, Y, Z, 3]` grid points, metres; any shear of the grid is kept.
        occupied: `[X - 1, Y - 1, Z - 1]` cells.
        palette: `[n, 3]` colour per height index (second axis).
    """
    cells = np.argwhere(occupied)
    corners = (cells[:, None] + _CORNERS).reshape(-1, 3)
    faces = (8 * np.arange(len(cells))[:, None, None] + _SIDES).reshape(-1, 4)
    return Mesh(
        points[tuple(corners.T)].astype(np.float32),
        faces.astype(np.int32),
        np.repeat(palette[cells[:, 1]], len(_SIDES), axis=0),
    )


def ply_bytes(mesh: Mesh) -> bytes:
    """The mesh as a binary PLY file."""
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(mesh.vertices)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
    )
    face = np.dtype([("count", "u1"), ("corners", "<i4", 4), ("colour", "u1", 3)])
    rows = np.zeros(len(mesh.faces), dtype=face)
    rows["count"], rows["corners"], rows["colour"] = 4, mesh.faces, mesh.colours
    out = io.BytesIO()
    out.write(header.encode())
    out.write(mesh.vertices.astype("<f4").tobytes())
    out.write(rows.tobytes())
    return out.getvalue()


def disparity_levels(depth_m: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Inverse depth stretched to 0..255, near is bright."""
    disparity = 1 / depth_m
    low, high = disparity.min(), disparity.max()
    return ((disparity - low) / max(high - low, 1e-12) * 255).astype(np.uint8)


def disparity_picture(depth_m: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Inverse depth as RGB picture."""
    return magma(disparity_levels(depth_m))
