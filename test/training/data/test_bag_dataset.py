import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from training.convert.small_trees import (
    DRIVE,
    MEI,
    NU_SENSORS,
    PERIOD_NS,
    TR,
    base_pose,
    flat_pose,
    kitti360_frames,
    kitti_calibration,
    kitti_frames,
    nuscenes_keys,
    write_calibration,
    write_kitti,
    write_kitti360,
    write_nuscenes,
)
from training.data.collate import draw_number, keep_stamps, read_stamp

from occ_perception.bags.cameras import cameras_of_bag
from occ_perception.bags.index import MessageStore, open_index
from occ_perception.bags.reader import BagReader
from occ_perception.bags.writer import BagWriter
from occ_perception.core.errors import (
    BagError,
    CalibrationError,
    ConfigError,
    ImageError,
    TransformError,
)
from occ_perception.geometry.transforms import inverse
from occ_training.convert import messages as m
from occ_training.convert.content import T_BASE_VELODYNE, Options, rigid
from occ_training.convert.kitti import find_sequences
from occ_training.convert.kitti360 import find_drives
from occ_training.convert.nuscenes_tables import find_scenes
from occ_training.convert.runner import convert
from occ_training.data.bag_dataset import (
    BagDataset,
    ShuffledOrder,
    bags_of_split,
    single_threaded,
    split_scenes,
)
from occ_training.data.bag_scene import Bags, SampleSpec
from occ_training.data.rectify import FisheyeView, rectifier
from occ_training.data.samples import LabelImage, Points, Voxels

LEFT = "/camera_color/left/image_rect/compressed"
RIGHT = "/camera_color/right/image_rect/compressed"
PERIOD_S = PERIOD_NS / 1e9


@pytest.fixture(scope="module")
def frames():
    return kitti_frames()


@pytest.fixture(scope="module")
def bags(frames, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kitti")
    write_kitti(folder, frames, "30")
    write_kitti(folder, frames[:3], "31")
    out = tmp_path_factory.mktemp("bags")
    list(convert(find_sequences(folder / "dataset", semantic=True), out, Options()))
    return out


@pytest.fixture
def bag(bags, tmp_path):
    """A copy of the longer bag, without any index."""
    return shutil.copytree(
        bags / "semantickitti_30", tmp_path / "drive", ignore=shutil.ignore_patterns(".occ*")
    )


def stereo(**changes):
    return SampleSpec(**({"cameras": (LEFT, RIGHT), "world_frame": "odom"} | changes))


def test_samples_are_what_the_data_set_holds(bags, frames):
    dataset = BagDataset([bags / "semantickitti_30"], stereo())
    assert len(dataset) == len(frames)
    for i, frame in enumerate(frames):
        sample = dataset[i]
        assert (sample.scene, sample.index) == ("semantickitti_30", i)
        for view, name in zip(sample.views, ("image_2", "image_3"), strict=True):
            np.testing.assert_array_equal(view.frame.image, frame.images[name])
            assert view.frame.stamp_ns == sample.stamp_ns
            np.testing.assert_allclose(view.T_world_base, base_pose(i), atol=1e-6)
        left, right = (view.frame.camera for view in sample.views)
        np.testing.assert_allclose(left.K, kitti_calibration()["P2"][:, :3], atol=1e-9)
        assert right.P[0, 3] < 0
    P2 = kitti_calibration()["P2"]
    T_cam0_cam2 = np.eye(4)
    T_cam0_cam2[:3, 3] = -np.linalg.inv(P2[:, :3]) @ P2[:, 3]
    expected = T_BASE_VELODYNE @ inverse(rigid(TR)) @ T_cam0_cam2
    np.testing.assert_allclose(left.T_base_cam, expected, atol=1e-9)


def test_labels_are_joined_by_stamp_and_choose_the_samples(bags, frames):
    spec = stereo(labels={"voxels": "/ground_truth/voxels", "lidar": "/velodyne/points"})
    dataset = BagDataset([bags / "semantickitti_30"], spec)
    assert len(dataset) == 2
    assert dataset.scenes[0].dropped == {"no label 'voxels'": 4}
    sample = dataset[1]
    assert sample.index == 5
    voxels, lidar = sample.labels["voxels"], sample.labels["lidar"]
    assert isinstance(voxels, Voxels)
    assert isinstance(lidar, Points)
    assert voxels.stamp_ns == lidar.stamp_ns == sample.stamp_ns
    assert voxels.grid.voxel_size_m == (0.2, 0.2, 0.2)
    assert voxels.grid.shape == (256, 256, 32)
    np.testing.assert_array_equal(voxels.known, voxels.labels != 255)
    np.testing.assert_array_equal(voxels.T_base_grid, T_BASE_VELODYNE)
    np.testing.assert_array_equal(lidar.xyz, frames[5].sweep[:, :3])


def test_side_bags_bring_layers(bags, bag, tmp_path):
    with BagReader(bag) as source:
        stamps = [source.stamp_ns(message) for message in source.messages([LEFT])]
    depth = np.arange(92 * 306, dtype=np.float32).reshape(92, 306)
    with BagWriter(tmp_path / "layers" / "drive") as side:
        for stamp in stamps[:4]:
            image = m.raw_image("/labels/depth", "camera_color_left_optical", stamp, depth, "32FC1")
            side.write_message(image.topic, image.msgtype, stamp, image.fields)
    spec = stereo(labels={"depth": "/labels/depth"})
    with pytest.raises(BagError, match="label layer /labels/depth"):
        BagDataset([bag], spec)
    dataset = BagDataset([Bags(bag, (tmp_path / "layers" / "drive",))], spec)
    assert len(dataset) == 4
    layer = dataset[2].labels["depth"]
    assert isinstance(layer, LabelImage)
    np.testing.assert_array_equal(layer.values, depth)
    assert layer.stamp_ns == dataset[2].stamp_ns


def test_neighbours_are_neighbours_in_time_within_a_scene(bags):
    spec = stereo(offsets_s=(-PERIOD_S, 2 * PERIOD_S))
    dataset = BagDataset([bags / "semantickitti_30", bags / "semantickitti_31"], spec)
    # 6 frames: 1..3 have both; 3 frames: none has, though frames follow in the other scene.
    assert [(s.scene, s.index) for s in dataset] == [("semantickitti_30", i) for i in (1, 2, 3)]
    before, after = dataset[0].neighbours.values()
    assert before[0].frame.stamp_ns == dataset[0].stamp_ns - PERIOD_NS
    assert after[1].frame.stamp_ns == dataset[0].stamp_ns + 2 * PERIOD_NS
    step = inverse(before[0].T_world_base) @ dataset[0].views[0].T_world_base
    np.testing.assert_allclose(step, inverse(base_pose(0)) @ base_pose(1), atol=1e-6)


def rewritten(bag, target, change):
    """A copy of a bag; `change` gives the messages that stand for one: (topic, time, fields)."""
    with BagReader(bag) as source, BagWriter(target) as out:
        for topic in source.topics.values():
            out.add_topic(topic.name, topic.msgtype, qos=topic.qos)
        for message in source.messages():
            for data in change(message.topic, source.decode(message), message):
                out.write(message.topic, message.time_ns, data(out) if callable(data) else data)
    return target


def without(topics, stamps=()):
    def change(topic, decoded, message):
        stamp = getattr(decoded, "header", None)
        ns = stamp and stamp.stamp.sec * 10**9 + stamp.stamp.nanosec
        gone = topic in topics and (not stamps or ns in stamps)
        return [] if gone else [message.data]

    return change


def stamps_of(bag, topic=LEFT):
    with BagReader(bag) as source:
        return [source.stamp_ns(message) for message in source.messages([topic])]


def test_no_neighbour_across_a_break(bag, tmp_path):
    stamps = stamps_of(bag)
    cut = rewritten(bag, tmp_path / "cut", without({LEFT, RIGHT}, stamps[2:4]))
    dataset = BagDataset([cut], stereo(offsets_s=(PERIOD_S,)))
    assert [s.stamp_ns for s in dataset] == [stamps[0], stamps[4]]


def test_an_image_is_not_used_for_two_anchors(bag, tmp_path):
    stamps = stamps_of(bag)
    holey = rewritten(bag, tmp_path / "holey", without({RIGHT}, stamps[2:3]))
    dataset = BagDataset([holey], stereo(max_skew_s=1.5 * PERIOD_S))
    assert len(dataset) == 5
    assert dataset.scenes[0].dropped == {f"no image on {RIGHT}": 1}
    rights = [s.views[1].frame.stamp_ns for s in dataset]
    assert len(set(rights)) == 5


def test_poses_that_are_too_far_apart_are_not_bridged(bag, tmp_path):
    def thin(topic, decoded, message):
        if topic != "/tf":
            return [message.data]
        stamp = decoded.transforms[0].header.stamp
        ns = stamp.sec * 10**9 + stamp.nanosec
        return [message.data] if ns in (stamps[0], stamps[1], stamps[4], stamps[5]) else []

    stamps = stamps_of(bag)
    sparse = rewritten(bag, tmp_path / "sparse", thin)
    assert [s.index for s in BagDataset([sparse], stereo())] == [0, 1, 4, 5]
    bridged = BagDataset([sparse], stereo(max_pose_gap_s=1.0))
    assert len(bridged) == 6
    between = bridged[2].views[0].T_world_base[:3, 3]
    ends = [bridged[i].views[0].T_world_base[:3, 3] for i in (1, 4)]
    np.testing.assert_allclose(between, (2 * ends[0] + ends[1]) / 3, atol=1e-6)


def test_nuscenes_cameras_keep_their_own_stamps_and_poses(tmp_path):
    tree = write_nuscenes(tmp_path / "nu", nuscenes_keys())
    list(convert(find_scenes(tree, occ3d=tree), tmp_path / "out", Options()))
    spec = SampleSpec(
        cameras=tuple(
            f"/{c.lower()}/image_rect_color/compressed" for c in ("CAM_FRONT", "CAM_BACK")
        ),
        labels={"voxels": "/ground_truth/voxels", "mask": "/ground_truth/camera_mask"},
        world_frame="map",
        max_pose_gap_s=1.0,
    )
    dataset = BagDataset([tmp_path / "out/nuscenes_scene-9000"], spec)
    assert len(dataset) == 3
    sample = dataset[1]
    front, back = sample.views
    assert back.frame.stamp_ns - front.frame.stamp_ns == 25_100_000
    start_ns = dataset[0].labels["voxels"].stamp_ns
    for view in (front, back):
        expected = flat_pose((view.frame.stamp_ns - start_ns) / 1e9)
        np.testing.assert_allclose(view.T_world_base, expected, atol=1e-9)
    voxels = sample.labels["voxels"]
    assert voxels.stamp_ns - front.frame.stamp_ns == 35_500_000
    np.testing.assert_allclose(
        voxels.T_world_base, flat_pose((voxels.stamp_ns - start_ns) / 1e9), atol=1e-9
    )
    assert sample.labels["mask"].labels is None
    T_base_cam = NU_SENSORS["CAM_FRONT"][0]
    np.testing.assert_allclose(front.frame.camera.T_base_cam, T_base_cam, atol=1e-12)


def test_a_view_cut_from_a_fisheye(tmp_path):
    calibration = write_calibration(tmp_path / "calibration")
    tree = write_kitti360(tmp_path / "k360", kitti360_frames(calibration))
    list(convert(find_drives(tree), tmp_path / "out", Options()))
    bag, topic = tmp_path / "out" / f"kitti360_{DRIVE}", "/fisheye/left/image_raw/compressed"
    with pytest.raises(CalibrationError, match="is a fisheye"):
        BagDataset([bag], SampleSpec(cameras=(topic,)))[0]
    view = FisheyeView(160, 48)
    sample = BagDataset([bag], SampleSpec(cameras=(topic,), fisheye=view))[0]
    camera = sample.views[0].frame.camera
    assert sample.views[0].frame.image.shape == (48, 160, 3)
    # The view looks to the left and 15 degrees down.
    forward = camera.T_base_cam[:3, 2]
    assert np.rad2deg(np.arcsin(forward[2])) == pytest.approx(-15, abs=1.5)
    assert forward[1] > 0.9
    # Without the exact calibration the equidistant model takes nearly the same pixels: the
    # published way of cutting is itself up to one pixel off.
    index = open_index(bag)
    source = cameras_of_bag(index, MessageStore(index.files))[topic]
    exact = rectifier(source, np.eye(4), view, lambda: MEI)
    nearest = rectifier(source, np.eye(4), view, lambda: None)
    np.testing.assert_array_equal(exact.camera.P, nearest.camera.P)
    for a, b in zip(exact.maps, nearest.maps, strict=True):
        assert np.abs(a - b).max() < 1.1


def test_distorted_images_are_rectified(bag, tmp_path):
    def distort(topic, decoded, message):
        if topic == "/camera_color/left/camera_info":
            decoded.d = np.array([-0.2, 0.05, 0.0, 0.0, 0.0])
            return [lambda out: out.types.encode(message.msgtype, decoded)]
        return [message.data]

    distorted = rewritten(bag, tmp_path / "distorted", distort)
    spec = SampleSpec(cameras=(LEFT,))
    ours, original = BagDataset([distorted], spec)[0], BagDataset([bag], spec)[0]
    a, b = ours.views[0].frame, original.views[0].frame
    np.testing.assert_array_equal(a.camera.P, b.camera.P)
    u, v = np.rint(a.camera.P[:2, 2]).astype(int)
    # The lens leaves the principal point where it is and moves the corners.
    near = np.abs(a.image[v, u].astype(int) - b.image[v, u])
    assert near.max() < 60
    assert np.abs(a.image[2, 2].astype(int) - b.image[2, 2]).max() > 0


@pytest.mark.parametrize(
    ("topic", "change", "error", "words"),
    [
        ("/camera_color/left/camera_info", lambda d: None, CalibrationError, "no camera"),
        ("/camera_color/left/camera_info", "moving", CalibrationError, "changes at stamp"),
        ("/camera_color/left/camera_info", "zero", CalibrationError, "not calibrated"),
        ("/tf_static", lambda d: None, TransformError, "no transform"),
        (LEFT, "cut", ImageError, "ends early"),
        (LEFT, "small", ImageError, "its calibration says"),
        (LEFT, "back", BagError, "do not go forward"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(bag, tmp_path, topic, change, error, words):
    count = 0

    def damage(name, decoded, message):
        nonlocal count
        if name != topic:
            return [message.data]
        count += 1
        if callable(change):
            return []
        changed = {
            "moving": moved,
            "zero": zeroed,
            "cut": truncated,
            "small": shrunk,
            "back": early,
        }
        changed[change](decoded, count)
        return [lambda out: out.types.encode(message.msgtype, decoded)]

    bad = rewritten(bag, tmp_path / "bad", damage)
    with pytest.raises(error, match=words):
        BagDataset([bad], stereo())[3]


def moved(info, count):
    info.k = info.k + count


def zeroed(info, count):
    info.k, info.p = 0 * info.k, 0 * info.p


def truncated(image, count):
    image.data = image.data[:-20]


def shrunk(image, count):
    import cv2

    image.data = cv2.imencode(".png", np.zeros((46, 153), np.uint8))[1].ravel()


def early(image, count):
    if count == 3:
        image.header.stamp.nanosec -= 150_000_000 % image.header.stamp.nanosec


DAMAGES = {
    "moving": moved,
    "zero": zeroed,
    "cut": truncated,
    "small": shrunk,
    "back": early,
}


def test_a_bag_that_was_cut_off(bag):
    path = next(bag.glob("*.mcap"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BagError, match="truncated or damaged"):
        BagDataset([bag], stereo())


def test_a_bag_of_another_format(shared_dir):
    with pytest.raises(BagError, match="is no MCAP bag"):
        BagDataset([shared_dir / "data/rosbag2/talker_sqlite3"], stereo())


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_read_the_same_whichever_way_they_start(bags, start):
    dataset = BagDataset([bags / "semantickitti_30", bags / "semantickitti_31"], stereo())
    expected = [read_stamp(sample) for sample in dataset]  # files are open by now
    loader = DataLoader(
        dataset,
        batch_size=2,
        num_workers=2,
        collate_fn=keep_stamps,
        multiprocessing_context=start,
        worker_init_fn=single_threaded,
    )
    assert [item for batch in loader for item in batch] == expected


def test_a_data_set_can_be_pickled_without_its_files(bags):
    dataset = BagDataset([bags / "semantickitti_30"], stereo())
    dataset[0]
    copy = pickle.loads(pickle.dumps(dataset))
    dataset.close()
    np.testing.assert_array_equal(copy[1].views[0].frame.image, dataset[1].views[0].frame.image)


def test_order_is_new_in_every_epoch_and_resumes():
    order = ShuffledOrder(10, seed=3)
    first = list(order)
    assert sorted(first) == list(range(10))
    assert list(order) == first
    order.set_epoch(1)
    second = list(order)
    assert second != first
    order.set_epoch(1, start=4)
    assert list(order) == second[4:]
    assert len(order) == 6
    shares = [list(ShuffledOrder(11, seed=3, rank=r, ranks=2)) for r in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == 5
    assert not set(shares[0]) & set(shares[1])


def test_transform_depends_on_sample_and_epoch_only(bags):
    dataset = BagDataset([bags / "semantickitti_30"], stereo(), transform=draw_number, seed=5)
    once = [dataset[i] for i in range(6)]
    assert [dataset[i] for i in reversed(range(6))] == once[::-1]
    assert len(set(once)) == 6
    dataset.set_epoch(1)
    assert dataset[0] != once[0]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_that_stay_hear_of_the_next_epoch(bags, start):
    dataset = BagDataset([bags / "semantickitti_31"], stereo(), transform=draw_number, seed=5)
    loader = DataLoader(
        dataset,
        batch_size=None,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context=start,
    )
    first = list(loader)
    dataset.set_epoch(1)
    second = list(loader)
    assert second != first
    assert second == [dataset[i] for i in range(3)]


def test_splits_by_scene(bags):
    assert split_scenes(["a", "b", "c", "d"], 0.25, seed=1) == split_scenes(
        ["a", "b", "c", "d"], 0.25, seed=1
    )
    train, held = split_scenes(["a", "b", "c", "d"], 0.25, seed=1)
    assert len(held) == 1
    assert sorted(train + held) == ["a", "b", "c", "d"]
    with pytest.raises(ConfigError):
        split_scenes(["a"], 0.5, seed=1)
    assert [b.recording.name for b in bags_of_split(bags, "all")] == [
        "semantickitti_30",
        "semantickitti_31",
    ]
    with pytest.raises(BagError, match="no bag of the split 'val'"):
        bags_of_split(bags, "val")


def test_the_index_is_kept_and_follows_the_file(bag):
    spec = stereo()
    BagDataset([bag], spec)
    files = {p.name: p.stat().st_mtime_ns for p in bag.glob(".occ*")}
    assert set(files) == {".occ_index.npz", ".occ_transforms.npz", ".occ_cameras.npz"}
    BagDataset([bag], spec)
    assert {p.name: p.stat().st_mtime_ns for p in bag.glob(".occ*")} == files
    path = next(bag.glob("*.mcap"))
    os.utime(path, ns=(1, 1))
    BagDataset([bag], spec)
    assert {p.name: p.stat().st_mtime_ns for p in bag.glob(".occ*")} != files


def test_a_damaged_index_is_made_anew(bag):
    BagDataset([bag], stereo())
    (bag / ".occ_index.npz").write_bytes(b"PK\x03\x04 nonsense")
    assert len(BagDataset([bag], stereo())) == 6


def test_an_index_beside_a_bag_that_cannot_be_written_to(bag, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = next(bag.glob("*.mcap"))  # a file by itself has no folder to keep anything in
    assert len(BagDataset([file], stereo())) == 6
    assert len(list((tmp_path / "cache").rglob(".occ_index.npz"))) == 1


def test_images_are_torch_ready(bags):
    image = BagDataset([bags / "semantickitti_30"], stereo())[0].views[0].frame.image
    assert torch.from_numpy(image).shape == (92, 306, 3)
