import torch

from occ_perception.bags.reader import BagReader
from occ_perception.bags.writer import BagWriter
from occ_perception.commands.eval_pictures import draw_worst
from occ_perception.core.labels import load_label_map
from occ_perception.core.types import Prediction
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.scoring import Judged, Place
from occ_perception.eval.voxel_truth import VoxelTopic
from occ_perception.systems.base import Needs


def test_a_bag_without_voxel_truth_shows_its_images_and_the_answer(truth_bag, tmp_path):
    truth = VoxelTopic(truth_bag, truth=True)
    with BagReader(truth_bag) as source, BagWriter(tmp_path / "plain") as bag:
        for message in source.messages():
            if message.msgtype != "occ_msgs/msg/VoxelGrid":
                bag.add_topic(message.topic, message.msgtype)
                bag.write(message.topic, message.time_ns, message.data)
    stamp_ns = truth.stamps_ns[0]
    answer = Prediction(torch.from_numpy(truth.at(stamp_ns)), truth.grid, stamp_ns)
    document = {"about": {"system": "vlscene"}}
    worst, labels = [Judged(Place(0, stamp_ns), 0.1, answer)], load_label_map("semantickitti")
    sizes = []
    for bag in (truth_bag, tmp_path / "plain"):
        frames = [BagFrames(bag, Needs(("left", "right"), stereo=True), "velodyne")]
        (path,) = draw_worst(document, worst, frames, labels, tmp_path)
        sizes.append(path.stat().st_size)
    assert 10_000 < sizes[1] < sizes[0]  # the truth's views are missing
