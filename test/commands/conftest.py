import numpy as np
import pytest

from occ_perception.bags.reader import BagReader
from occ_perception.bags.writer import BagWriter
from occ_perception.core.labels import load_label_map
from occ_training.convert.content import Options
from occ_training.convert.runner import convert_scene
from occ_training.convert.world_bag import WorldScene
from occ_training.world.config import WorldConfig

NODE = "/vlscene_node"
LEFT = "/camera_color/left/image_rect/compressed"
VOXELS, LABEL_MAP = "occ_msgs/msg/VoxelGrid", "occ_msgs/msg/LabelMap"


@pytest.fixture(scope="session")
def street_bag(tmp_path_factory):
    """Two stereo pairs of a small computed street; the first one has voxel truth."""
    config = WorldConfig(frames=2, movers=False, landmark=True)
    scene, folder = WorldScene(config, ("image_2", "image_3")), tmp_path_factory.mktemp("input")
    assert convert_scene(scene, folder, Options()).problems == []
    return folder / scene.name


@pytest.fixture(scope="session")
def two_pairs_bag(tmp_path_factory):
    """One instant of a computed street that a grey and a coloured stereo pair see, with truth."""
    scene = WorldScene(WorldConfig(frames=1, movers=False))
    folder = tmp_path_factory.mktemp("pairs")
    assert convert_scene(scene, folder, Options()).problems == []
    return folder / scene.name


@pytest.fixture(scope="session")
def output_bag(street_bag, tmp_path_factory):
    """What a perfect node would have answered to the first pair; the second pair was dropped."""
    labels = load_label_map("semantickitti")
    path = tmp_path_factory.mktemp("output") / "answers"
    with BagReader(street_bag) as source, BagWriter(path) as bag:
        pairs = 0
        for message in source.messages():
            topic, time_ns = message.topic, message.time_ns
            decoded = source.decode(message)
            if topic == "/ground_truth/label_map":
                bag.write_message(f"{NODE}/label_map", LABEL_MAP, time_ns, decoded)
            elif topic == "/ground_truth/voxels":
                bag.write_message(f"{NODE}/voxels", VOXELS, time_ns, decoded)
                write_grid(bag, decoded, time_ns, labels)
            elif not topic.startswith("/ground_truth"):
                bag.add_topic(topic, message.msgtype)
                bag.write(topic, time_ns, message.data)
            if topic == LEFT:
                write_latency(bag, decoded.header, time_ns, is_published=pairs == 0)
                pairs += 1
    return path


def write_grid(bag, truth, time_ns, labels):
    """Plain twin of the node's OccupancyGrid: any blocking voxel blocks, unknown columns are -1."""
    voxels = truth.labels.reshape(truth.size_x, truth.size_y, truth.size_z)[:, :, 4:13]
    cells = np.where((voxels == labels.unknown_id).any(-1), -1, 0)  # as its `known` says, too
    cells[labels.blocking()[voxels].any(-1)] = 100
    info = {"resolution": truth.resolution, "width": truth.size_x, "height": truth.size_y}
    info["origin"] = truth.origin
    message = {"header": truth.header, "info": info, "data": cells.T.astype(np.int8).ravel()}
    bag.write_message(f"{NODE}/grid", "nav_msgs/msg/OccupancyGrid", time_ns, message)


def write_latency(bag, header, time_ns, is_published):
    stages = [{"stage": "infer", "seconds": 0.25}, {"stage": "total", "seconds": 0.5}]
    message = {
        "header": header,
        "outcome": "published" if is_published else "dropped",
        "reason": "" if is_published else "newer set waiting",
        "stages": stages if is_published else [],
        "sets_formed": 1 if is_published else 2,
        "published": 1,
        "dropped": 0 if is_published else 1,
    }
    bag.write_message(f"{NODE}/latency", "occ_msgs/msg/FrameLatency", time_ns, message)
