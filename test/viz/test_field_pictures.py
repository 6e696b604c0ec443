"""Meshes and depth pictures of a field."""

import numpy as np

from occ_perception.viz.field_pictures import (
    cell_mesh,
    disparity_levels,
    disparity_picture,
    height_colours,
    ply_bytes,
)

GRID = np.stack(np.meshgrid(*(np.arange(3.0),) * 3, indexing="ij"), axis=-1)


def test_an_occupied_cell_is_a_cube_in_its_place():
    occupied = np.zeros((2, 2, 2), dtype=bool)
    occupied[1, 0, 1] = True
    mesh = cell_mesh(GRID, occupied, height_colours(2))
    assert mesh.vertices.min(axis=0).tolist() == [1, 0, 1]
    assert mesh.vertices.max(axis=0).tolist() == [2, 1, 2]
    assert mesh.faces.shape == (6, 4) and len(np.unique(mesh.faces)) == 8


def test_the_file_holds_what_its_header_says():
    mesh = cell_mesh(GRID, np.ones((2, 2, 2), dtype=bool), height_colours(2))
    data = ply_bytes(mesh)
    header, _, body = data.partition(b"end_header\n")
    assert b"element vertex 64" in header and b"element face 48" in header
    assert len(body) == 64 * 12 + 48 * (1 + 16 + 3)


def test_nothing_occupied_is_an_empty_file_not_an_error():
    mesh = cell_mesh(GRID, np.zeros((2, 2, 2), dtype=bool), height_colours(2))
    assert b"element face 0" in ply_bytes(mesh)


def test_near_is_bright():
    depth = np.array([[2.0, 50.0]])
    assert disparity_levels(depth).tolist() == [[255, 0]]
    picture = disparity_picture(depth).astype(int)
    assert picture[0, 0].sum() > picture[0, 1].sum()
    assert disparity_levels(np.ones((2, 2))).tolist() == [[0, 0], [0, 0]]
