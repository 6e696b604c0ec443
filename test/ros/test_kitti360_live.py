"""Both field nodes on the real frames of KITTI-360: converted to a bag, played over DDS."""

import shutil

import numpy as np
import pytest
from PIL import Image as Picture

pytestmark = pytest.mark.ros
in_process = pytest.importorskip("ros.in_process", reason="needs rclpy and occ_msgs")

from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from occ_msgs.msg import FrameLatency, LabelMap, VoxelGrid  # noqa: E402
from occ_perception.commands.convert import main as convert  # noqa: E402
from occ_perception.geometry.transforms import inverse  # noqa: E402
from occ_training.convert.kitti360_rig import Calibration  # noqa: E402

DRIVE = "2013_05_28_drive_0000_sync"
TIME = "2013-05-28 08:46:02.904510208"  # in Karlsruhe
STAMP_NS = 1_369_723_562_904_510_208
PICTURES = {"as rectified": "perspective/a.png", "training size": "perspective_640x192/c.png"}


def write_drive(real, picture, root):
    """One real frame in the data set's layout; the calibration follows the size of the image.

    Returns:
        The calibration, and width and height of the image.
    """
    shutil.copytree(real / "calibration", root / "calibration", copy_function=shutil.copyfile)
    files = {
        "image_00/data_rect": real / picture,
        "image_02/data_rgb": real / "fisheye_image_02/rgb.png",
    }
    for folder, source in files.items():
        target = root / "data_2d_raw" / DRIVE / folder
        target.mkdir(parents=True)
        shutil.copyfile(source, target / "0000000000.png")
        (target.parent / "timestamps.txt").write_text(f"{TIME}\n")
    (root / "calibration").chmod(0o755)
    table = root / "calibration/perspective.txt"
    width, height = Picture.open(real / picture).size
    scale = np.diag([width / 1408, height / 376, 1])
    lines = []
    for line in table.read_text().splitlines():
        name, _, words = line.partition(":")
        if name.startswith("P_rect"):
            P = scale @ np.reshape([float(word) for word in words.split()], (3, 4))
            words = " ".join(map(repr, P.ravel().tolist()))
        elif name.startswith("S_rect"):
            words = f"{width} {height}"
        lines.append(f"{name}: {words}")
    table.write_text("\n".join(lines))
    return Calibration(root / "calibration"), (width, height)


@pytest.fixture(scope="module", params=PICTURES.values(), ids=PICTURES.keys())
def drive(request, shared_dir, tmp_path_factory):
    """Bag of a real frame, its calibration and its size."""
    folder = tmp_path_factory.mktemp("kitti360")
    made = write_drive(shared_dir / "data/kitti360", request.param, folder / "source")
    assert convert(["kitti360", str(folder / "source"), str(folder / "bags")]) == 0
    return folder / f"bags/kitti360_{DRIVE}", *made


def centres(message):
    """Centres of the voxels, `[X, Y, Z, 3]` metres in the frame of the message."""
    shape = message.size_x, message.size_y, message.size_z
    origin = message.origin.position
    cells = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return (cells + 0.5) * message.resolution + [origin.x, origin.y, origin.z]


def margin_px(points, calibration, size):
    """How far points lie inside the image, pixels; negative = beside it or behind the camera."""
    T_camera_velodyne = inverse(calibration.T_velodyne_left)
    at_camera = points @ T_camera_velodyne[:3, :3].T + T_camera_velodyne[:3, 3]
    uvw = at_camera @ calibration.matrix("P_rect_00", (3, 4))[:, :3].T
    uv = uvw[..., :2] / np.maximum(uvw[..., 2:], 1e-6)
    inside = np.minimum(uv, np.array(size) - uv).min(-1)
    return np.where(uvw[..., 2] > 0.01, inside, -np.inf)


def depth_of(message):
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)


@pytest.mark.parametrize("system", ["vipocc", "scenedino"])
def test_a_real_frame_becomes_voxels_and_depth(drive, system):
    bag, calibration, size = drive
    with in_process.Running(system, bag) as node:
        (camera,) = node.node._pipeline.inputs.arrivals.values()
        assert camera.topic == "/perspective/left/image_rect/compressed"  # not the fisheye
        node.listen("latency", FrameLatency)
        (voxels, depths, infos) = (
            node.listen(*output)
            for output in (
                ("voxels", VoxelGrid),
                ("depth", Image),
                ("depth/camera_info", CameraInfo),
            )
        )
        label_maps = node.listen("label_map", LabelMap, latched=True)
        node.play()
        assert node.outcomes() == ["published"]
        for output in ("voxels", "depth", "depth/camera_info"):
            assert node.stamps(output) == [STAMP_NS], output

    grid, label_map = voxels[0], label_maps[-1]
    assert (grid.header.frame_id, grid.label_map) == ("velodyne", label_map.name)
    points = centres(grid)
    labels = np.frombuffer(grid.labels, np.uint8).reshape(points.shape[:3])
    margin, is_unknown = margin_px(points, calibration, size), labels == label_map.unknown_id
    assert is_unknown[margin < -1].all(), "something is said where the camera does not look"
    assert not is_unknown[margin > 1].any(), "nothing is said of what the camera sees"
    occupied = ~is_unknown & (labels != label_map.free_id)
    assert 0.001 < occupied[margin > 1].mean() < 0.9

    (message,), (info,) = depths, infos
    assert (message.encoding, message.header.frame_id) == ("32FC1", "perspective_left_optical")
    assert (info.width, info.height) == (message.width, message.height)
    focal, centre = np.reshape(info.p, (3, 4))[0, [0, 2]]
    P, scale = calibration.matrix("P_rect_00", (3, 4)), message.width / size[0]
    # Pixel edges coincide: the middle of the first pixel is at half a pixel.
    expected = P[0, 0] * scale, (P[0, 2] + 0.5) * scale - 0.5
    np.testing.assert_allclose([focal, centre], expected, rtol=1e-6)
    depth = depth_of(message)
    assert (depth[np.isfinite(depth)] > 0).all()
    assert np.isfinite(depth).mean() > 0.9
    # The road: its lowest rows are a few metres ahead of a camera 1.55 m above it.
    lower = depth[message.height // 2 :, message.width // 3 : -message.width // 3]
    near, far = (np.nanmedian(part) for part in (lower[-4:], lower[:4]))
    assert 3 < near < min(far, 12)
