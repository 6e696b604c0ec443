"""Every system's node, as its launch file starts it, on computed and on real frames."""

import numpy as np
import pytest

pytestmark = pytest.mark.ros
in_process = pytest.importorskip("ros.in_process", reason="needs rclpy and occ_msgs")

from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from visualization_msgs.msg import MarkerArray  # noqa: E402

from occ_msgs.msg import FrameLatency, LabelMap, SemanticGaussians, VoxelGrid  # noqa: E402
from occ_perception.systems.roles import OFFERS  # noqa: E402

KINDS = {
    "depth": ("depth", Image),
    "feature_picture": ("features", Image),
    "segmentation": ("segmentation", Image),
    "gaussians": ("gaussians", SemanticGaussians),
}
GRIDS = {"vipocc": (256, 256, 32), "scenedino": (256, 256, 32)}
OCC3D = (200, 200, 16)


@pytest.fixture(scope="module")
def bags(tmp_path_factory, shared_dir):
    """Bags by rig, made when they are asked for."""
    made = {}

    def get(rig):
        if rig == "nuscenes, real":
            return shared_dir / "data/rosbag2_from_real/nuscenes_scene_0061"
        if rig == "kitti, real":
            return shared_dir / "data/rosbag2_from_real/kitti_06"
        if rig not in made:
            made[rig] = in_process.Scene(rig, 2).write(tmp_path_factory.mktemp("world"))
        return made[rig]

    return get


@pytest.mark.parametrize(
    ("system", "rig"),
    [
        ("vipocc", "kitti360"),
        ("vipocc", "kitti, real"),
        ("scenedino", "kitti360"),
        ("scenedino", "kitti, real"),
        ("langocc", "nuscenes"),
        ("langocc", "nuscenes, real"),
        ("gaussianflowocc", "nuscenes"),
        ("gaussianflowocc", "nuscenes, real"),
    ],
)
def test_a_node_answers_with_everything_it_offers(bags, system, rig):
    with in_process.Running(system, bags(rig)) as node:
        reports = node.listen("latency", FrameLatency)
        voxels = node.listen("voxels", VoxelGrid)
        label_maps = node.listen("label_map", LabelMap, latched=True)
        offers = [offer for offer in OFFERS.get(system, ()) if offer in KINDS]
        for offer in offers:
            node.listen(*KINDS[offer])
        node.listen("depth/camera_info", CameraInfo)
        node.listen("flow", MarkerArray)
        node.play(frames=2)

        assert set(node.outcomes()) == {"published"}, reports
        grid = voxels[-1]
        shape = (grid.size_x, grid.size_y, grid.size_z)
        assert shape == GRIDS.get(system, OCC3D)
        labels = np.frombuffer(grid.labels, np.uint8)
        assert labels.size == np.prod(shape)
        assert grid.label_map == label_maps[-1].name
        assert set(np.unique(labels)) <= {*label_maps[-1].ids, label_maps[-1].unknown_id}
        for offer in offers:
            output, _ = KINDS[offer]
            assert node.stamps(output) == node.stamps("voxels"), output
            check(node, output)


def check(node, output):
    """What the newest message of an output must be."""
    message = node.received[output][-1]
    if output == "gaussians":
        count = len(message.opacities)
        assert len(message.means) == len(message.flow) == 3 * count == 3 * len(message.labels)
        assert np.isfinite(np.asarray(message.means)).all()
        assert node.received["flow"], "nobody saw the arrows"
        return
    pixels = np.frombuffer(message.data, np.float32 if output == "depth" else np.uint8)
    pixels = pixels.reshape(message.height, message.width, -1)
    assert message.encoding == ("32FC1" if output == "depth" else "rgb8")
    if output == "depth":
        info = node.received["depth/camera_info"][-1]
        assert (info.width, info.height) == (message.width, message.height)
        assert (info.header.frame_id, info.header.stamp) == (
            message.header.frame_id,
            message.header.stamp,
        )
        seen = pixels[np.isfinite(pixels)]
        assert seen.size and (seen > 0).all()
        # The principal point is where the image's own calibration has it, scaled.
        assert info.p[2] / info.width == pytest.approx(0.5, abs=0.06)
