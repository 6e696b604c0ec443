import io

import cv2
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from occ_perception.bags.reader import BagReader
from occ_perception.commands import bag_content
from occ_perception.commands.summary import summarize
from occ_perception.commands.views import draw_run
from occ_perception.core.errors import BagError
from occ_perception.core.labels import load_label_map
from occ_perception.viz.palette import BLOCKED, ROBOT
from occ_training.world.scene import LANDMARK_SIZE_M, LANDMARK_XY_M


def test_summary_counts_what_became_of_each_pair(output_bag):
    summary = summarize(output_bag)
    assert summary.frames == {
        "/camera_color/left/image_rect/compressed": 2,
        "/camera_color/right/image_rect/compressed": 2,
    }
    assert (summary.formed, summary.published, summary.grids) == (2, 1, 1)
    assert summary.dropped == {"newer set waiting": 1}
    assert summary.stages == {"infer": [pytest.approx(0.25)], "total": [pytest.approx(0.5)]}
    console = Console(file=io.StringIO(), width=120)
    console.print(summary.tables())
    text = console.file.getvalue()
    assert "newer set waiting" in text and "250.0" in text and "published" in text


def test_summary_of_a_bag_without_answers_is_refused(street_bag):
    with pytest.raises(BagError, match="FrameLatency"):
        summarize(street_bag)


def test_what_nobody_has_seen_is_not_occupied(output_bag):
    with BagReader(output_bag) as bag:
        topic = bag_content.voxel_topic(bag, truth=False)
        stamp_ns = bag.stamp_ns(next(iter(bag.messages([topic]))))
        voxels = bag_content.read_voxels(bag, topic, stamp_ns)
    labels = load_label_map("semantickitti")
    assert (voxels.labels == labels.unknown_id).any() and voxels.occupied.any()
    assert not voxels.occupied[voxels.labels == labels.unknown_id].any()
    assert not voxels.occupied[voxels.labels == labels.free_id].any()


def test_occupancy_grid_of_the_bag_blocks_at_the_cube(output_bag):
    with BagReader(output_bag) as bag:
        topic = bag_content.voxel_topic(bag, truth=False)
        occupancy = bag_content.read_occupancy(bag, bag_content.stamps(bag, topic)[0])
    column, row = (
        int((LANDMARK_XY_M[i] - occupancy.origin_m[i]) / occupancy.resolution_m) for i in (0, 1)
    )
    assert occupancy.cells[row, column] == 100
    assert occupancy.cells[occupancy.cells.shape[0] - row, column] != 100  # the other side


def test_voxels_that_are_not_known_get_the_unknown_id(output_bag, tmp_path):
    from occ_perception.bags.writer import BagWriter

    with BagReader(output_bag) as bag:
        topic = bag_content.voxel_topic(bag, truth=False)
        message = bag.decode(next(bag.messages([topic])))
        whole = bag_content.read_voxels(bag, topic, bag_content.stamps(bag, topic)[0])
    message.known = np.zeros(message.labels.size, np.uint8)
    with BagWriter(tmp_path / "unknown") as bag:
        bag.write_message("/node/voxels", "occ_msgs/msg/VoxelGrid", 1, message)
    with BagReader(tmp_path / "unknown") as bag:
        voxels = bag_content.read_voxels(bag, "/node/voxels", whole.stamp_ns)
    assert (voxels.labels == voxels.label_map.unknown_id).all()
    assert not (whole.labels == whole.label_map.unknown_id).all()
    assert voxels.grid == whole.grid


def test_pictures_show_the_cube_where_it_is(output_bag, street_bag, tmp_path):
    files = {p.stem: p for p in draw_run(output_bag, street_bag, tmp_path, "vlscene", "random")}
    assert set(files) == {"input", "birds_eye", "voxels", "occupancy_grid", "overview"}
    image = np.asarray(Image.open(files["birds_eye"]))
    half = image[:, : image.shape[1] // 2]  # prediction left, truth right
    v, u = largest_patch(half, (255, 0, 0))
    robot_v, robot_u = (a.mean() for a in np.nonzero((half == ROBOT).all(-1)))
    metre = np.sqrt(len(u)) / (LANDMARK_SIZE_M + 0.2)
    assert (robot_u - u.mean()) / metre == pytest.approx(LANDMARK_XY_M[1], abs=0.6)  # to the LEFT
    assert (robot_v - v.mean()) / metre == pytest.approx(LANDMARK_XY_M[0], abs=1.5)

    grid = np.asarray(Image.open(files["occupancy_grid"]))
    middle = grid.shape[1] // 2
    mirrored = round(2 * robot_u - u.mean())
    for start in (0, middle):  # of the answer, and of the truth by the node's own code
        assert (grid[round(v.mean()), start + round(u.mean())] == BLOCKED).all()
        assert not (grid[round(v.mean()), start + mirrored] == BLOCKED).all()


def largest_patch(image, color):
    """Pixels of the largest patch of a colour."""
    _, patches, stats, _ = cv2.connectedComponentsWithStats((image == color).all(-1).astype("u1"))
    return np.nonzero(patches == 1 + stats[1:, cv2.CC_STAT_AREA].argmax())


def test_pictures_of_a_run_without_grids_are_refused(street_bag, tmp_path):
    with pytest.raises(BagError, match="nothing was published"):
        draw_run(street_bag, street_bag, tmp_path, "vlscene", "random")
