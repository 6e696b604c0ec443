"""Rigid transforms against scipy and against their own inverses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from occ_perception.core.errors import TransformError
from occ_perception.geometry.transforms import (
    R_BODY_OPTICAL,
    inverse,
    is_rigid,
    matrix_from_quaternion,
    quaternion_from_matrix,
    rotation_rpy,
    slerp,
    transform,
    wxyz_from_xyzw,
)

component = st.floats(-1, 1, allow_nan=False)
quaternions = (
    st.tuples(component, component, component, component)
    .map(np.array)
    .filter(lambda q: np.linalg.norm(q) > 1e-3)
    .map(lambda q: q / np.linalg.norm(q))
)


@given(quaternions)
def test_matrix_equals_scipy(q):
    assert np.allclose(matrix_from_quaternion(q), Rotation.from_quat(q).as_matrix(), atol=1e-12)


@given(quaternions)
def test_quaternion_returns_from_the_matrix(q):
    back = quaternion_from_matrix(matrix_from_quaternion(q))
    assert back[3] >= 0
    assert min(np.abs(back - q).max(), np.abs(back + q).max()) < 1e-9


@given(quaternions, quaternions, st.floats(0, 1))
def test_slerp_equals_scipy(a, b, fraction):
    if abs(float(a @ b)) < 1e-3:  # opposite halves of the sphere: both arcs are equally short
        return
    expected = Slerp([0, 1], Rotation.from_quat(np.stack([a, b])))(fraction).as_matrix()
    assert np.allclose(matrix_from_quaternion(slerp(a, b, fraction)), expected, atol=1e-6)


@given(quaternions, st.tuples(component, component, component))
def test_inverse_undoes(q, t):
    T = transform(t, q)
    assert is_rigid(T)
    assert np.allclose(inverse(T) @ T, np.eye(4), atol=1e-12)


def test_rpy_turns_about_fixed_axes():
    expected = Rotation.from_euler("xyz", [0.1, -0.2, 0.3]).as_matrix()
    assert np.allclose(rotation_rpy(0.1, -0.2, 0.3), expected)


def test_optical_z_is_body_x():
    assert np.allclose(R_BODY_OPTICAL @ [0, 0, 1], [1, 0, 0])
    assert np.allclose(R_BODY_OPTICAL @ [1, 0, 0], [0, -1, 0])


def test_order_of_gaussian_code():
    assert wxyz_from_xyzw([1, 2, 3, 4]).tolist() == [4, 1, 2, 3]


@pytest.mark.parametrize("q", [(0, 0, 0, 0), (np.nan, 0, 0, 1)])
def test_a_quaternion_that_is_no_rotation_is_refused(q):
    with pytest.raises(TransformError, match="unit"):
        matrix_from_quaternion(q)


def test_a_mirror_is_not_rigid():
    assert not is_rigid(np.diag([1.0, 1, -1, 1]))
