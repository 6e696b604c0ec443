import dataclasses

import numpy as np
import pytest
import torch

from occ_perception.bags.reader import BagReader
from occ_perception.bags.writer import BagWriter
from occ_perception.core.errors import BagError, ConfigError
from occ_perception.core.labels import load_label_map
from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_training.data.samples import LabelImage, Voxels
from occ_training.recipes.vlscene_data import (
    VLSceneDataset,
    VLSceneTopics,
    class_topic,
    stereo_topics,
    stored_teacher,
    voxel_target,
)
from occ_training.recipes.vlscene_step import collate

NANO = VLSceneConfig.nano()
IMAGES = VLSceneTopics(points="")
LABELS = load_label_map("semantickitti")
POINTS = "/labels/points"


@pytest.fixture(scope="module")
def with_points(truth_bag, tmp_path_factory):
    """The street, and a bag beside it with three labelled LiDAR points per frame."""
    path = tmp_path_factory.mktemp("layers") / truth_bag.name
    rows = np.zeros(3, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("label", "<u2"), ("pad", "<u2")])
    rows["x"], rows["y"], rows["label"] = (10.0, 10.0, -5.0), (0.0, 2.0, 0.0), (40, 252, 10)
    fields = [
        {"name": n, "offset": rows.dtype.fields[n][1], "datatype": t, "count": 1}
        for n, t in (("x", 7), ("y", 7), ("z", 7), ("label", 4))
    ]
    with BagReader(truth_bag) as bag, BagWriter(path) as out:
        for message in bag.messages(["/ground_truth/voxels"]):
            stamp = bag.stamp_ns(message)
            header = {"stamp": {"sec": stamp // 10**9, "nanosec": stamp % 10**9}}
            cloud = {
                "header": header | {"frame_id": "velodyne"}, "height": 1, "width": 3,
                "fields": fields, "point_step": 16, "row_step": 48, "data": rows.view(np.uint8),
            }  # fmt: skip
            out.write_message(POINTS, "sensor_msgs/msg/PointCloud2", stamp, cloud)
    return truth_bag, path


def voxels(**changes):
    grid = NANO.grid
    values = {
        "grid": grid, "labels": np.zeros(grid.shape, np.uint8), "known": None,
        "label_map": "semantickitti", "stamp_ns": 0, "T_base_grid": np.eye(4),
    }  # fmt: skip
    return Voxels(**(values | changes))


def test_a_sample_of_a_bag_is_what_the_network_takes(truth_bag):
    dataset = VLSceneDataset([truth_bag], NANO, IMAGES)
    assert len(dataset) == 2
    sample = dataset[1]
    assert sample.left.shape == sample.right.shape == (3, *NANO.input_size)
    assert sample.truth.shape == (256, 256, 32) and sample.truth.dtype == torch.uint8
    assert {0, 9, 13, 255} <= set(sample.truth.unique().tolist())
    assert sample.geometry.calib.item() == pytest.approx(380.2, abs=2)
    assert sample.depth_bins is sample.points is sample.teacher is None
    assert collate([dataset[0], sample]).left.shape == (2, 3, *NANO.input_size)


def test_lidar_becomes_depth_bins_and_points(with_points):
    from occ_training.data.bag_scene import Bags

    street, layer = with_points
    sample = VLSceneDataset([Bags(street, (layer,))], NANO, VLSceneTopics(points=POINTS))[0]
    assert sample.point_labels.tolist() == [9, 1]  # road, moving car; the one behind is not seen
    assert sample.points.points[0, 0] == pytest.approx(10.0)
    cells = sample.depth_bins[sample.depth_bins < NANO.bins]
    assert 1 <= len(cells) <= 2
    assert NANO.depth_min_m + cells[0] * NANO.depth_step_m == pytest.approx(9.7, abs=0.6)


def test_the_world_brings_everything_but_a_teacher(truth_bag):
    topics = VLSceneTopics(classes=class_topic("/camera_color/left/image_rect/compressed"))
    batch = collate([VLSceneDataset([truth_bag], NANO, topics)[0]])
    assert (batch.depth_bins < NANO.bins).sum() > 100
    assert len(batch.point_labels) == len(batch.points[0].points) > 100
    assert batch.class_image.shape == (1, *NANO.input_size)
    assert {7, 11} <= set(batch.class_image.unique().tolist())  # Cityscapes: road, building


def test_a_layer_of_another_bag_is_not_taken(with_points, tmp_path):
    from occ_training.data.bag_scene import Bags

    street, layer = with_points
    topics = VLSceneTopics(points=POINTS)
    with pytest.raises(BagError, match="neither bag"):
        VLSceneDataset([Bags(street)], NANO, topics)
    shifted = tmp_path / "shifted"
    with BagReader(layer) as bag, BagWriter(shifted) as out:
        for message in bag.messages():
            cloud = bag.decode(message)
            cloud.header.stamp.sec += 1000
            out.add_topic(message.topic, message.msgtype)
            out.write(message.topic, message.time_ns, out.types.encode(message.msgtype, cloud))
    with pytest.raises(BagError, match=r"no whole sample.*no label 'points'"):
        VLSceneDataset([Bags(street, (shifted,))], NANO, topics)


def test_unknown_voxels_do_not_count():
    labels = np.full(NANO.grid.shape, LABELS.unknown_id, np.uint8)
    labels[0, 0, 0], labels[1, 1, 1] = 9, 0
    known = np.ones(NANO.grid.shape, bool)
    known[1, 1, 1] = False
    target = voxel_target(voxels(labels=labels, known=known), NANO.grid, LABELS)
    assert target[0, 0, 0] == 9 and (target.flatten()[1:] == 255).all()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"labels": None}, "no labels of 'semantickitti'"),
        ({"label_map": "occ3d_nuscenes"}, "no labels of 'semantickitti'"),
        (
            {"labels": np.full(NANO.grid.shape, 77, np.uint8)},
            r"ids \[77\] are not in the label map",
        ),
        ({"T_base_grid": np.diag([1.0, -1, -1, 1])}, "in 'velodyne', not where"),
        (
            {"grid": dataclasses.replace(NANO.grid, origin_m=(0, -25.6, -1.0))},
            "on another grid",
        ),
    ],
)
def test_truth_of_something_else_is_refused(changes, sentence):
    with pytest.raises(BagError, match=sentence):
        voxel_target(voxels(**changes), NANO.grid, LABELS)


def test_one_image_topic_alone_is_refused(truth_bag):
    with pytest.raises(ConfigError, match="both image topics"):
        VLSceneDataset([truth_bag], NANO, VLSceneTopics(left="/camera_color/left/image_rect"))


def test_a_stored_answer_comes_back_channels_first():
    features = LabelImage(np.arange(24, dtype=np.float16).reshape(2, 3, 4), 0, "left")
    answer = stored_teacher(features, features)
    assert answer.features.shape == (4, 2, 3) and answer.features[1, 0, 2] == 9
    assert stored_teacher(features, None) is None


def test_a_mirrored_pair_sees_the_mirrored_street(truth_bag):
    left, right = map(class_topic, stereo_topics([truth_bag], IMAGES))
    topics = dataclasses.replace(IMAGES, classes=left, right_classes=right)
    plain = VLSceneDataset([truth_bag], NANO, topics, "published")[1]
    other = VLSceneDataset([truth_bag], NANO, topics, "published", mirror=1.0)[1]
    assert torch.equal(other.truth, plain.truth.flip(1))
    seen_by_right = (other.left - plain.right.flip(2)).abs().mean()
    assert seen_by_right < 0.5 * (other.left - plain.left.flip(2)).abs().mean()
    assert other.geometry.calib.item() == pytest.approx(plain.geometry.calib.item())
    assert (other.class_image == plain.class_image.flip(1)).float().mean() > 0.6
    assert not torch.equal(other.class_image, plain.class_image.flip(1))


def test_the_mirrored_plan_is_the_mirror_of_the_plan(truth_bag):
    """What the left camera lifts to the left, the mirrored right camera lifts to the right."""
    plain = VLSceneDataset([truth_bag], NANO, IMAGES)[0].geometry
    other = VLSceneDataset([truth_bag], NANO, IMAGES, mirror=1.0)[0].geometry
    ahead = torch.tensor([0.0, 0.0, 1.0])
    directions = [(g.rots[0, 0] @ ahead) for g in (plain, other)]
    torch.testing.assert_close(directions[1], directions[0] * torch.tensor([1.0, -1, 1]))
    baseline = plain.calib.item() / plain.intrins_left[0, 0, 0, 0].item()
    assert other.trans[0, 0, 1] == pytest.approx(baseline - plain.trans[0, 0, 1].item(), abs=2e-2)
