"""A marked voxel at a known metre position arrives there in every message and view."""

import numpy as np
import pytest
import torch
from ros_free.stand_ins import TYPES

from occ_perception.core.errors import PredictionError
from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import load_label_map
from occ_perception.core.types import Prediction
from occ_perception.ros import messages
from occ_perception.ros.volume import host_volume

LABELS = load_label_map("semantickitti")
CAR, ROAD = LABELS.id_of("car"), LABELS.id_of("road")
GRID = GridSpec((0.0, -2.0, -1.0), (0.5, 0.5, 0.5), (10, 8, 6), "velodyne")
STAMP = 12_345_678_901
MARK_M = (3.2, 1.1, 0.3)  # ahead, to the left, above: every axis differs


def predict(**changes):
    labels = torch.zeros(GRID.shape, dtype=torch.uint8)
    index, inside = GRID.index_of(MARK_M)
    assert inside
    labels[tuple(index)] = CAR
    return Prediction(**{"labels": labels, "grid": GRID, "stamp_ns": STAMP, **changes})


def volume(**changes):
    return host_volume(predict(**changes), LABELS)


def test_voxels_have_the_documented_order_place_and_stamp():
    message = messages.voxel_grid(TYPES, volume())
    labels = np.frombuffer(message.labels, np.uint8)
    (entry,) = np.flatnonzero(labels)
    shape = (message.size_x, message.size_y, message.size_z)
    index = np.array(np.unravel_index(entry, shape))
    origin = message.origin.position
    center = np.array([origin.x, origin.y, origin.z]) + (index + 0.5) * message.resolution
    np.testing.assert_allclose(center, (3.25, 1.25, 0.25))
    assert labels[entry] == CAR
    assert messages.stamp_ns(message.header.stamp) == STAMP
    assert message.header.frame_id == "velodyne"
    assert message.label_map == "semantickitti"
    assert message.origin.orientation.w == 1.0
    assert len(message.probability) == len(message.known) == 0


def test_probabilities_and_mask_travel_in_the_same_order():
    confidence = torch.rand(GRID.shape)
    known = torch.rand(GRID.shape) > 0.5
    message = messages.voxel_grid(TYPES, volume(confidence=confidence, known=known))
    np.testing.assert_allclose(
        np.frombuffer(message.probability, np.uint8) / 254, confidence.ravel(), atol=0.5 / 254
    )
    np.testing.assert_array_equal(np.frombuffer(message.known, np.uint8), known.ravel())


@pytest.mark.parametrize("bad", [float("nan"), 1.5, -0.1])
def test_impossible_probabilities_are_never_published(bad):
    confidence = torch.full(GRID.shape, 0.5)
    confidence[1, 2, 3] = bad
    with pytest.raises(PredictionError, match="NaN or leave"):
        volume(confidence=confidence)


def test_ids_outside_the_label_map_are_never_published():
    labels = torch.full(GRID.shape, 77, dtype=torch.uint8)
    with pytest.raises(PredictionError, match=r"\[77\].*semantickitti"):
        volume(labels=labels)


def grid_message(low_m=-1.0, high_m=2.0, blocking=None, **changes):
    table = LABELS.blocking() if blocking is None else blocking
    return messages.occupancy_grid(TYPES, volume(**changes), GRID.slab(low_m, high_m), table)


def cells(message):
    """Cells `[y, x]` as every consumer of OccupancyGrid reads them."""
    info = message.info
    return np.frombuffer(message.data, np.int8).reshape(info.height, info.width)


def test_the_mark_is_in_the_right_column_of_the_grid_and_not_mirrored():
    message = grid_message()
    ((row, column),) = np.argwhere(cells(message) == 100)
    origin, size = message.info.origin.position, message.info.resolution
    assert origin.x + (column + 0.5) * size == pytest.approx(3.25)
    assert origin.y + (row + 0.5) * size == pytest.approx(1.25)
    assert (message.info.width, message.info.height) == (10, 8)
    assert (cells(message) == 0).sum() == 79


def test_the_height_band_decides():
    assert (cells(grid_message(low_m=0.5)) == 0).all()
    assert (cells(grid_message(low_m=0.0, high_m=0.5)) == 100).sum() == 1


def test_classes_that_do_not_block_leave_the_cell_free():
    labels = torch.full(GRID.shape, ROAD, dtype=torch.uint8)
    assert (cells(grid_message(labels=labels)) == 0).all()


def test_unknown_is_never_free():
    known = torch.ones(GRID.shape, dtype=torch.bool)
    known[4, 5, 2] = False  # one voxel of a free column
    x, y, z = GRID.index_of(MARK_M)[0]
    known[x, y, z] = False  # the marked voxel itself
    found = cells(grid_message(known=known))
    assert found[5, 4] == -1
    assert found[y, x] == -1
    assert (found == 0).sum() == 78


def test_a_known_obstacle_in_a_partly_unknown_column_still_blocks():
    known = torch.zeros(GRID.shape, dtype=torch.bool)
    x, y, z = GRID.index_of(MARK_M)[0]
    known[x, y, z] = True
    found = cells(grid_message(known=known))
    assert found[y, x] == 100
    assert (found == -1).sum() == 79


def test_the_unknown_id_is_unknown_without_a_mask():
    labels = torch.zeros(GRID.shape, dtype=torch.uint8)
    labels[1, 1, 1] = LABELS.unknown_id
    assert cells(grid_message(labels=labels))[1, 1] == -1
    assert not volume(labels=labels).is_occupied().any()


def test_points_are_the_occupied_voxels_with_colour_and_label():
    (point,) = volume().points()
    np.testing.assert_allclose((point["x"], point["y"], point["z"]), (3.25, 1.25, 0.25))
    assert point["label"] == CAR
    red, green, blue = LABELS.colors_rgb[LABELS.ids.index(CAR)]
    assert point["rgb"].view(np.uint32) == (red << 16) + (green << 8) + blue


def test_unknown_voxels_are_no_points():
    known = torch.zeros(GRID.shape, dtype=torch.bool)
    assert len(volume(known=known).points()) == 0


def test_markers_are_capped_to_the_nearest():
    labels = torch.full(GRID.shape, CAR, dtype=torch.uint8)
    array = messages.blocking_markers(TYPES, volume(labels=labels), LABELS.blocking(), 7)
    (marker,) = array.markers
    assert len(marker.points) == len(marker.colors) == 7
    near = max(np.hypot(np.hypot(p.x, p.y), p.z) for p in marker.points)
    distance = np.linalg.norm(GRID.centers().reshape(-1, 3), axis=1)
    assert near <= np.sort(distance)[6] + 1e-6
    assert (marker.scale.x, marker.scale.y, marker.scale.z) == (0.5, 0.5, 0.5)


def test_markers_show_what_blocks_only():
    labels = torch.full(GRID.shape, ROAD, dtype=torch.uint8)
    array = messages.blocking_markers(TYPES, volume(labels=labels), LABELS.blocking(), 7)
    assert not array.markers[0].points


def test_the_label_map_arrives_whole():
    message = messages.label_map(TYPES, LABELS, STAMP)
    assert message.ids.tolist() == list(LABELS.ids)
    assert message.names == list(LABELS.names)
    assert message.colors_rgb.tolist() == [v for colour in LABELS.colors_rgb for v in colour]
    assert message.blocking_ids.tolist() == list(LABELS.blocking_ids)
    assert (message.free_id, message.unknown_id) == (LABELS.free_id, LABELS.unknown_id)


def test_latency_reports_tell_published_from_dropped():
    counts = (3, 2, 1)
    done = messages.frame_latency(TYPES, STAMP, "base", "", {"infer": 0.5}, counts)
    assert (done.outcome, done.reason) == ("published", "")
    assert [(s.stage, s.seconds) for s in done.stages] == [("infer", 0.5)]
    lost = messages.frame_latency(TYPES, STAMP, "base", "bad image", {}, counts)
    assert (lost.outcome, lost.reason) == ("dropped", "bad image")
    assert (lost.sets_formed, lost.published, lost.dropped) == counts


def test_transforms_keep_their_direction():
    T = np.eye(4)
    T[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]  # yaw of 90 degrees
    T[:3, 3] = (1, 2, 3)
    message = messages.transform_stamped(TYPES, STAMP, "base", "grid", T)
    assert (message.header.frame_id, message.child_frame_id) == ("base", "grid")
    t, q = message.transform.translation, message.transform.rotation
    assert (t.x, t.y, t.z) == (1, 2, 3)
    np.testing.assert_allclose((q.x, q.y, q.z, q.w), (0, 0, np.sqrt(0.5), np.sqrt(0.5)))
