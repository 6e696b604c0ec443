"""Messages of what systems offer beside voxels."""

from array import array
from types import SimpleNamespace

import numpy as np
import pytest
from ros_free.stand_ins import TYPES, ColorRGBA, Header, Marker, bytes_field, make

from occ_perception.core.camera import Camera
from occ_perception.core.labels import load_label_map
from occ_perception.ros import extra_messages

LABELS = load_label_map("occ3d_nuscenes")
WHERE = (LABELS, 3_500_000_000, "base_link")


def floats():
    return array("f")


types = SimpleNamespace(
    **vars(TYPES),
    Image=make(
        header=Header, height=int, width=int, encoding=str, is_bigendian=int, step=int,
        data=bytes_field,
    ),
    CameraInfo=make(
        header=Header, height=int, width=int, distortion_model=str, d=list,
        k=lambda: np.zeros(9), r=lambda: np.zeros(9), p=lambda: np.zeros(12),
    ),
    SemanticGaussians=make(
        header=Header, means=floats, scales=floats, rotations=floats, opacities=floats,
        label_map=str, labels=bytes_field, feature_dim=int, features=floats, flow=floats,
    ),
)  # fmt: skip


def scene(flow):
    count = len(flow)
    return {
        "means": np.arange(3.0 * count).reshape(count, 3),
        "scales": np.ones((count, 3)),
        "quaternions": np.tile([1.0, 0, 0, 0], (count, 1)),
        "opacities": np.full((count, 1), 0.5),
        "classes": np.full(count, LABELS.id_of("car"), np.uint8),
        "flow": np.asarray(flow, np.float64),
    }


def test_depth_is_metres_row_by_row_and_nan_stays():
    depth = np.array([[1.5, np.nan, 3.0], [4.0, 5.0, 6.0]], np.float32)[:, ::-1]
    message = extra_messages.depth_image(types, depth, 3_500_000_000, "cam")
    assert (message.encoding, message.step, message.header.frame_id) == ("32FC1", 12, "cam")
    back = np.frombuffer(message.data, np.float32).reshape(2, 3)
    np.testing.assert_array_equal(back, depth)
    assert message.header.stamp.nanosec == 500_000_000


def test_colours_keep_their_order():
    picture = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    message = extra_messages.colour_image(types, picture, 0, "cam")
    assert (message.encoding, message.height, message.width, message.step) == ("rgb8", 2, 3, 9)
    assert bytes(message.data) == picture.tobytes()


def test_a_pictures_calibration_is_that_of_its_size():
    P = np.array([[100.0, 0, 79.5, 0], [0, 100, 39.5, 0], [0, 0, 1, 0]])
    half = Camera("camera", P, 160, 80).resized(80, 40)
    message = extra_messages.camera_info(types, half, 0, "cam")
    assert (message.width, message.height) == (80, 40)
    assert message.p[0] == message.k[0] == 50.0
    assert message.p[2] == pytest.approx(39.5)


def test_gaussians_are_flat_arrays():
    message = extra_messages.semantic_gaussians(types, scene([[1, 0, 0], [0, 2, 0]]), *WHERE)
    assert message.means.tolist() == [0, 1, 2, 3, 4, 5]
    assert message.rotations.tolist() == [1, 0, 0, 0] * 2
    assert message.flow.tolist() == [1, 0, 0, 0, 2, 0]
    assert message.label_map == "occ3d_nuscenes"
    assert len(message.opacities) == len(message.labels) == 2
    still = {k: v for k, v in scene([[0, 0, 0]]).items() if k != "flow"}
    assert len(extra_messages.semantic_gaussians(types, still, *WHERE).flow) == 0


def test_arrows_show_the_fastest_and_leave_out_what_stands(monkeypatch):
    with_colour = type("M", (Marker,), {"fields": {**Marker.fields, "color": ColorRGBA}})
    monkeypatch.setattr(types, "Marker", with_colour)
    flow = [[0, 0, 0.1], [8, 0, 0], [0, 4, 0], [0, 2, 0]]
    cleared, *arrows = extra_messages.flow_arrows(types, scene(flow), *WHERE, limit=2).markers
    assert cleared.action == 3
    assert len({arrow.id for arrow in arrows}) == len(arrows) == 2
    start, end = arrows[0].points
    assert (start.x, end.x - start.x) == (3.0, 4.0)  # half a second at 8 m/s
