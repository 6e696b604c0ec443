import json
import shutil

import numpy as np
import pytest
from training.convert.conversions import Opened, convert_all, points_of, stamp_of
from training.convert.small_trees import (
    NU_SENSORS,
    START_NS,
    flat_pose,
    nuscenes_keys,
    write_nuscenes,
)

from occ_perception.bags.cameras import cameras_of_bag
from occ_perception.cli import main
from occ_perception.core.camera import Camera
from occ_perception.core.errors import BagError
from occ_perception.eval.retrieval_set import PLACES, QUERIES, read_queries
from occ_perception.viz.bag_pictures import project_points
from occ_training.convert.nuscenes_tables import find_scenes, scenes_of_infos
from occ_training.convert.retrieval_places import write_places

NAME = "nuscenes_scene-9000"
FRONT = "/cam_front/image_rect_color/compressed"
START_US = START_NS // 1000


@pytest.fixture(scope="module")
def keys():
    return nuscenes_keys()


@pytest.fixture(scope="module")
def tree(keys, tmp_path_factory):
    return write_nuscenes(tmp_path_factory.mktemp("tree") / "nuscenes", keys)


@pytest.fixture(scope="module")
def bag(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("bags")
    report = convert_all(find_scenes(tree, occ3d=tree), out)[NAME]
    assert report.problems == []
    return Opened(out / NAME)


@pytest.fixture
def fresh(tree, tmp_path):
    return shutil.copytree(tree, tmp_path / "nuscenes")


def change_table(tree, name, change):
    path = tree / "v1.0-mini" / f"{name}.json"
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


def test_images_and_intrinsics(bag, tree):
    files = sorted(tree.glob("*/CAM_FRONT/*.jpg"), key=lambda p: p.name)
    messages = bag.messages(FRONT)
    assert len(messages) == len(files) == 6  # sweeps too
    for message, path in zip(messages, files, strict=True):
        assert message.data.tobytes() == path.read_bytes()
        assert message.format == "jpeg"
        assert stamp_of(message) == int(path.stem.split("__")[-1]) * 1000
    K = bag.matrix("/cam_front/camera_info", "k")
    np.testing.assert_array_equal(K, NU_SENSORS["CAM_FRONT"][1])


def test_every_record_has_the_pose_of_its_own_stamp(bag):
    for stamp in bag.stamps(FRONT):
        T = bag.transforms.at("map", "base_link", stamp, 0)
        np.testing.assert_allclose(T, flat_pose((stamp // 1000 - START_US) / 1e6), atol=1e-9)
    for channel, (T, K) in NU_SENSORS.items():
        frame = channel.lower() + ("_optical" if K is not None else "")
        np.testing.assert_allclose(bag.transforms.fixed("base_link", frame), T, atol=1e-12)


def test_sweeps_boxes_and_point_labels(bag, keys):
    sweeps = [f for key in keys for f in key.files if f.channel == "LIDAR_TOP"]
    for file, message in zip(sweeps, bag.messages("/lidar_top/points"), strict=True):
        np.testing.assert_array_equal(points_of(message), file.sweep[:, :3])
        assert message.point_step == 20
        assert [f.name for f in message.fields] == ["x", "y", "z", "intensity", "ring"]
    labelled = bag.messages("/ground_truth/points")
    assert len(labelled) == len(keys)
    box = bag.messages("/ground_truth/boxes")[1].markers[0]
    assert (box.scale.x, box.scale.y, box.scale.z) == (4.5, 1.9, 1.6)  # length, width, height
    assert (box.pose.position.x, box.ns, box.header.frame_id) == (11.0, "vehicle.car", "map")


def test_the_scans_of_a_retrieval_benchmark_are_found(tree, bag, tmp_path, capsys):
    """By the command, which leaves out what the tables do not know and keeps what is known."""
    scenes = find_scenes(tree)
    keys = [r for r in scenes[0].records if r.channel == "LIDAR_TOP" and r.key]
    rows = [f"{t};val;their/a/{t}__r.npy;their/m/{t}__p.npy;car\n" for t in (keys[-1].key, "x")]
    folder = tmp_path / "benchmark"
    (folder / "annotations").mkdir(parents=True)
    (folder / QUERIES).write_text("".join(rows))
    (folder / PLACES).write_text("x;another_bag;17\n")
    words = ["convert", "nuscenes", str(tree), str(tmp_path / "bags"), "--retrieval", str(folder)]
    assert main([*words, "--scenes", "scene-9000"]) == 0
    assert "2 of 2 scans" in capsys.readouterr().out
    first, second = read_queries(folder)
    assert (first.bag, first.stamp_ns) == (NAME, keys[-1].stamp_ns)
    assert first.stamp_ns in bag.stamps("/lidar_top/points")
    assert first.hits == folder / "annotations" / f"{keys[-1].key}__r.npy"
    assert (second.bag, second.stamp_ns) == ("another_bag", 17)
    (folder / PLACES).unlink()
    assert write_places([], folder) == (0, 2)
    with pytest.raises(BagError, match="knows no token"):
        read_queries(folder)


def test_occ3d_masks_and_labels(bag, keys):
    voxels, seen = bag.messages("/ground_truth/voxels"), bag.messages("/ground_truth/camera_mask")
    for key, grid, mask in zip(keys, voxels, seen, strict=True):
        assert stamp_of(grid) == key.stamp_us * 1000
        np.testing.assert_array_equal(grid.labels, key.voxels.semantics.ravel())
        np.testing.assert_array_equal(grid.known, key.voxels.mask_lidar.ravel())
        np.testing.assert_array_equal(mask.known, key.voxels.mask_camera.ravel())
        assert mask.labels.size == 0
        assert grid.header.frame_id == "base_link"
        assert (grid.origin.position.x, grid.resolution) == (-40.0, pytest.approx(0.4))


def test_the_tables_say_what_is_not_there(shared_dir, tmp_path):
    report = convert_all(find_scenes(shared_dir / "data/nuscenes"), tmp_path)["nuscenes_scene-0061"]
    assert report.problems == []
    assert "sample_annotation.json (/ground_truth/boxes)" in report.absent


def test_the_real_sweep_meets_the_same_pixels_as_in_the_independent_bag(shared_dir, tmp_path):
    convert_all(find_scenes(shared_dir / "data/nuscenes"), tmp_path)
    reference = "data/rosbag2_from_real/nuscenes_scene_0061"
    shutil.copytree(shared_dir / reference, tmp_path / "reference")
    ours = seen_points(Opened(tmp_path / "nuscenes_scene-0061"))
    assert ours == seen_points(Opened(tmp_path / "reference"))
    # From the data's own description: 3053 to 4820 points per camera; here with the rim pixels.
    assert min(ours.values()) >= 3053
    assert max(ours.values()) < 4900


def seen_points(opened):
    """LiDAR points per camera, with the drive between the stamps."""
    (sweep,) = opened.messages("/lidar_top/points")
    T_map_lidar = opened.transforms.at("map", "lidar_top", stamp_of(sweep), 0)
    counts = {}
    for topic, source in cameras_of_bag(opened.index, opened.store).items():
        stamp = opened.stamps(topic)[0]
        T_camera_map = np.linalg.inv(opened.transforms.at("map", source.frame_id, stamp, 0))
        camera = Camera(topic, source.P, source.width, source.height)
        seen = project_points(points_of(sweep), camera, T_camera_map @ T_map_lidar)
        counts[topic] = int((seen.depth_m > 1).sum())
    return counts


def test_a_path_that_leads_out_of_the_data_set(fresh, tmp_path):
    def escape(rows):
        rows[0]["filename"] = "samples/../../secret.jpg"

    (tmp_path / "secret.jpg").write_bytes(b"\xff\xd8\xff")
    change_table(fresh, "sample_data", escape)
    report = convert_all(find_scenes(fresh), tmp_path / "out")[NAME]
    assert len(report.problems) == 1
    assert "leads out of" in report.problems[0]
    assert not report.failed


def test_a_row_that_refers_to_nothing(fresh):
    change_table(fresh, "ego_pose", lambda rows: rows.pop())
    with pytest.raises(Exception, match=r"sample_data.json, row \w+ is incomplete"):
        find_scenes(fresh)


def test_a_sensor_that_moves_on_the_car(fresh, tmp_path):
    def second_place(rows):
        row = dict(rows[0], token="f" * 32)
        row["translation"] = [row["translation"][0] + 0.1, *row["translation"][1:]]
        rows.append(row)

    change_table(fresh, "calibrated_sensor", second_place)
    change_table(
        fresh, "sample_data", lambda rows: rows[0].update(calibrated_sensor_token="f" * 32)
    )
    report = convert_all(find_scenes(fresh), tmp_path / "out")[NAME]
    assert report.failed
    assert "two calibrations" in report.problems[0]


@pytest.mark.parametrize("damage", ["missing", "shape", "id"])
def test_damaged_voxels_are_named(fresh, tmp_path, damage):
    path = sorted(fresh.glob("gts/*/*/labels.npz"))[0]
    arrays = dict(np.load(path))
    path.unlink()
    if damage == "shape":
        arrays["mask_camera"] = arrays["mask_camera"][:-1]
    if damage == "id":
        arrays["semantics"][0, 0, 0] = 18
    if damage != "missing":
        np.savez(path, **arrays)
    report = convert_all(find_scenes(fresh, occ3d=fresh), tmp_path / "out")[NAME]
    assert report.counts["/ground_truth/voxels"] == 2
    assert str(path) in report.problems[0]


def test_infos_give_the_same_key_frames(tree, tmp_path, bag):
    import pickle

    infos = [info_of(tree, sample) for sample in load(tree, "sample")]
    path = tmp_path / "infos.pkl"
    path.write_bytes(pickle.dumps({"infos": infos, "metadata": {"version": "v1.0-mini"}}))
    scenes = scenes_of_infos(tree, path, occ3d=tree)
    assert convert_all(scenes, tmp_path / "out")[NAME].problems == []
    opened = Opened(tmp_path / "out" / NAME)
    stamps = opened.stamps(FRONT)
    assert len(stamps) == 3
    assert set(stamps) <= set(bag.stamps(FRONT))
    for stamp in stamps:
        np.testing.assert_allclose(
            opened.transforms.at("map", "cam_front_optical", stamp, 0),
            bag.transforms.at("map", "cam_front_optical", stamp, 0),
            atol=1e-9,
        )
    assert len(opened.messages("/ground_truth/voxels")) == 3


def load(tree, name):
    return json.loads((tree / "v1.0-mini" / f"{name}.json").read_text())


def info_of(tree, sample):
    """An info as BEVDet's scripts make them, of the key frames of the tables."""
    sensors = {row["token"]: row["channel"] for row in load(tree, "sensor")}
    places = {row["token"]: row for row in load(tree, "calibrated_sensor")}
    poses = {row["token"]: row for row in load(tree, "ego_pose")}
    info = {"token": sample["token"], "timestamp": sample["timestamp"], "cams": {}}
    info["scene_name"] = "scene-9000"
    for row in load(tree, "sample_data"):
        if row["sample_token"] != sample["token"] or not row["is_key_frame"]:
            continue
        place, pose = places[row["calibrated_sensor_token"]], poses[row["ego_pose_token"]]
        channel = sensors[place["sensor_token"]]
        where = {
            "ego2global_translation": pose["translation"],
            "ego2global_rotation": pose["rotation"],
        }
        if channel == "LIDAR_TOP":
            info |= where | {
                "lidar_path": f"./data/nuscenes/{row['filename']}",
                "lidar2ego_translation": place["translation"],
                "lidar2ego_rotation": place["rotation"],
            }
        else:
            info["cams"][channel] = where | {
                "data_path": f"./data/nuscenes/{row['filename']}",
                "timestamp": row["timestamp"],
                "sensor2ego_translation": place["translation"],
                "sensor2ego_rotation": place["rotation"],
                "cam_intrinsic": np.array(place["camera_intrinsic"]),
            }
    return info


def test_written_tables_are_whole(tree, keys):
    """Chains closed, references resolved, all thirteen tables there."""
    names = sorted(p.stem for p in (tree / "v1.0-mini").glob("*.json"))
    assert len([n for n in names if n != "lidarseg"]) == 13
    rows = {row["token"]: row for row in load(tree, "sample_data")}
    starts = [row for row in rows.values() if row["prev"] == ""]
    assert len(starts) == len(NU_SENSORS)
    for row in starts:
        length = 1
        while row["next"]:
            assert rows[row["next"]]["prev"] == row["token"]
            assert rows[row["next"]]["timestamp"] > row["timestamp"]
            row, length = rows[row["next"]], length + 1
        assert length == 2 * len(keys)
    scene = load(tree, "scene")[0]
    assert scene["first_sample_token"] == load(tree, "sample")[0]["token"]
    instance = load(tree, "instance")[0]
    assert instance["nbr_annotations"] == len(keys)
