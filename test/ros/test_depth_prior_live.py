"""ViPOcc's node with a depth prior as transformers saves it: the depth branch publishes."""

import numpy as np
import pytest
from blocks.tiny_priors import write_depth_anything

pytestmark = pytest.mark.ros
in_process = pytest.importorskip("ros.in_process", reason="needs rclpy and occ_msgs")

from sensor_msgs.msg import Image  # noqa: E402

from occ_msgs.msg import FrameLatency, VoxelGrid  # noqa: E402


def test_the_depth_branch_publishes_beside_the_voxels(tmp_path):
    bag = in_process.Scene("kitti360", 1).write(tmp_path)
    folder = write_depth_anything(tmp_path / "prior", max_depth=8)
    words = ("-p", f"depth_prior:={folder}")
    with in_process.Running("vipocc", bag, *words, weights="random") as node:
        node.listen("latency", FrameLatency)
        node.listen("voxels", VoxelGrid)
        depths = node.listen("predicted_depth", Image)
        node.play()
        assert node.outcomes() == ["published"]
        assert node.stamps("predicted_depth") == node.stamps("voxels") != []
    (message,) = depths
    depth = np.frombuffer(message.data, np.float32).reshape(message.height, message.width)
    assert message.encoding == "32FC1" and np.isfinite(depth).all()
    # A fresh branch leaves the pseudo depth nearly as it is: 3.8 to 6.2 m of 8.
    assert 2 < depth.min() < depth.max() < 8


def test_a_wrong_folder_stops_the_node_with_a_sentence(tmp_path, capfd):
    bag = in_process.Scene("kitti360", 1).write(tmp_path)
    running = in_process.Running("vipocc", bag, "-p", f"depth_prior:={tmp_path}")
    try:
        assert not running.node.start()
    finally:
        running.__exit__()
    assert f"folder '{tmp_path}' holds no AutoModelForDepthEstimation" in capfd.readouterr().err
