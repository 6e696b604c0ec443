import numpy as np
import pytest

from occ_perception.bags.reader import BagReader
from occ_perception.bags.writer import BagWriter
from occ_perception.core.labels import load_label_map
from occ_training.world.box_scene import write_box_bag

NODE = "/vlscene_node"
VOXELS, LABEL_MAP = "occ_msgs/msg/VoxelGrid", "occ_msgs/msg/LabelMap"


@pytest.fixture(scope="session")
def box_bag(tmp_path_factory):
    """Two stereo pairs of the box street, small."""
    path = tmp_path_factory.mktemp("input") / "street"
    write_box_bag(path, frames=2, scale=0.25)
    return path


@pytest.fixture(scope="session")
def output_bag(box_bag, tmp_path_factory):
    """What a perfect node would have answered to the first pair; the second pair was dropped."""
    labels = load_label_map("semantickitti")
    path = tmp_path_factory.mktemp("output") / "answers"
    with BagReader(box_bag) as source, BagWriter(path) as bag:
        seen = set()
        for message in source.messages():
            decoded = source.decode(message)
            if message.topic == "/ground_truth/label_map":
                bag.write_message(f"{NODE}/label_map", LABEL_MAP, message.time_ns, decoded)
            elif message.topic == "/ground_truth/voxels":
                is_first = not seen
                seen.add(message.time_ns)
                if is_first:
                    bag.write_message(f"{NODE}/voxels", VOXELS, message.time_ns, decoded)
                    write_grid(bag, decoded, message.time_ns, labels)
                write_latency(bag, decoded.header, message.time_ns, is_first)
            else:
                bag.add_topic(message.topic, message.msgtype)
                bag.write(message.topic, message.time_ns, message.data)
    return path


def write_grid(bag, truth, time_ns, labels):
    """Plain twin of the node's OccupancyGrid: any blocking voxel blocks, unknown columns are -1."""
    voxels = truth.labels.reshape(truth.size_x, truth.size_y, truth.size_z)[:, :, 4:13]
    cells = np.where((voxels == labels.unknown_id).any(-1), -1, 0)
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
