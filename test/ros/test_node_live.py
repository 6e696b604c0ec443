"""The node over DDS, in a process of its own: geometry end to end, faults, reset, views."""

import itertools

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.ros
live = pytest.importorskip("ros.live", reason="needs rclpy and occ_msgs")

SECOND = 1_000_000_000
STAMPS = itertools.count(1_700_000_000 * SECOND, SECOND // 10)
NAME = "carving_node"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    rig = live.Live("ros.carving_node", NAME, tmp_path_factory.mktemp("live") / "log")
    rig.wait_active()
    rig.send_transforms()
    yield rig
    rig.close()


@pytest.fixture
def stamp():
    return next(STAMPS)


def voxels_of(message):
    shape = message.size_x, message.size_y, message.size_z
    return np.frombuffer(message.labels, np.uint8).reshape(shape)


def test_a_red_cube_is_a_car_at_its_place_in_every_output(node, stamp):
    from nav_msgs.msg import OccupancyGrid
    from sensor_msgs.msg import PointCloud2

    views = [
        node.listen(f"/{NAME}/grid", OccupancyGrid),
        node.listen(f"/{NAME}/points", PointCloud2),
    ]
    node.spin_for(0.5)  # the node has to know of the listeners
    node.send_pair(stamp)
    message = node.wait_message(f"/{NAME}/voxels", stamp)
    assert message.header.frame_id == "velodyne"
    origin = message.origin.position
    corner = np.array([origin.x, origin.y, origin.z])
    cells = np.argwhere(voxels_of(message) == 1)
    near, inside = live.is_at_the_cube(corner + (cells + 0.5) * message.resolution)
    assert near
    assert inside >= 20  # 0.8 m cube of 0.25 m voxels

    grid = node.wait_message(f"/{NAME}/grid", stamp)
    info = grid.info
    plan = np.frombuffer(grid.data, np.int8).reshape(info.height, info.width)
    rows, columns = np.nonzero(plan == 100)
    x = info.origin.position.x + (columns + 0.5) * info.resolution
    y = info.origin.position.y + (rows + 0.5) * info.resolution
    assert len(rows) >= 9
    assert (np.abs(x - live.CUBE_M[0]) < 1.7).all() and (np.abs(y - live.CUBE_M[1]) < 0.7).all()
    assert (plan == -1).any() and (plan == 0).any()

    cloud = node.wait_message(f"/{NAME}/points", stamp)
    from occ_perception.ros.volume import POINT_TYPE

    points = np.frombuffer(cloud.data, POINT_TYPE)
    assert {f.name: f.offset for f in cloud.fields} == {
        name: POINT_TYPE.fields[name][1] for name in POINT_TYPE.names
    }
    assert cloud.point_step == POINT_TYPE.itemsize and len(points) == cloud.width == len(cells)
    assert (points["label"] == 1).all()
    near, inside = live.is_at_the_cube(np.stack([points[a] for a in "xyz"], -1))
    assert near and inside >= 20
    for view in views:
        node.node.destroy_subscription(view)


def test_voxels_outside_the_view_are_unknown_not_free(node, stamp):
    node.send_pair(stamp)
    message = node.wait_message(f"/{NAME}/voxels", stamp)
    known = np.frombuffer(message.known, np.uint8).reshape(voxels_of(message).shape)
    assert known.min() == 0 and known.max() == 1
    assert not known[0, 0].any()  # right beside the robot, no camera looks there


def test_the_report_follows_with_stage_times_in_order_and_counts(node, stamp):
    node.send_pair(stamp)
    report = node.wait_report(stamp)
    assert (report.outcome, report.reason) == ("published", "")
    stages = [item.stage for item in report.stages]
    assert stages == ["decode", "sync", "prepare", "infer", "post", "publish", "total"]
    times = {item.stage: item.seconds for item in report.stages}
    assert times["total"] >= sum(v for k, v in times.items() if k not in ("total", "sync"))
    assert report.published >= 1
    assert report.header.frame_id == "base_link"


def test_the_label_map_is_latched_for_late_listeners(node):
    from occ_msgs.msg import LabelMap

    topic = f"/{NAME}/label_map"
    node.listen(topic, LabelMap, live.LATCHED)
    node.spin_until(lambda: node.received[topic], "the label map")
    assert node.received[topic][0].names[1] == "car"


def test_views_nobody_listens_to_are_not_built(node, stamp):
    """The set's time for publishing without listeners names voxels only: nobody gets a grid."""
    from nav_msgs.msg import OccupancyGrid

    node.send_pair(stamp)
    node.wait_report(stamp)
    late = node.listen(f"/{NAME}/grid", OccupancyGrid)
    node.spin_for(0.5)
    assert not node.received[f"/{NAME}/grid"]
    node.node.destroy_subscription(late)


def drop_of(node, stamp):
    report = node.wait_report(stamp)
    assert report.outcome == "dropped"
    assert not report.stages
    return report.reason


def assert_still_answers(node):
    stamp = next(STAMPS)
    node.send_pair(stamp)
    assert node.wait_report(stamp).outcome == "published"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"encoding": "hsv8"}, "encoding 'hsv8' is unknown"),
        ({"step": 3}, "states a step of 3 bytes"),
        ({"height": 361}, "has a buffer of"),
        ({"pixels": np.zeros((8, 8, 3), np.uint8)}, "use the CameraInfo of this image stream"),
    ],
)
def test_a_bad_image_costs_its_set_and_one_sentence(node, stamp, fault, words):
    node.reset()  # forget the throttling of the log
    for role in ("left", "right"):
        node.send_info(role, stamp)
    node.send_image("left", stamp)
    node.send_image("right", stamp, **fault)
    assert drop_of(node, stamp) == "bad image"
    assert words in node.log()
    assert_still_answers(node)


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_bad_calibration_costs_its_sets(node, stamp, value):
    node.reset()
    node.send_info("left", stamp, P=np.full((3, 4), value))
    node.send_info("right", stamp)
    node.spin_for(0.2)
    for role in ("left", "right"):
        node.send_image(role, stamp)
    assert drop_of(node, stamp) == "bad calibration"
    assert "camera 'left'" in node.log()
    node.send_info("left", stamp)
    assert_still_answers(node)


def test_one_camera_only_never_blocks_and_is_named(node):
    node.reset()
    stamps = [next(STAMPS) for _ in range(7)]
    for stamp in stamps:
        node.send_image("left", stamp)
    for stamp in stamps:  # the newest ones by patience, the older ones by newer anchors
        assert drop_of(node, stamp) == "no right image within 0.02 s"
    assert_still_answers(node)


def test_a_pair_too_far_apart_is_no_pair(node, stamp):
    node.send_image("left", stamp)
    node.send_image("right", stamp + SECOND // 20)
    assert drop_of(node, stamp) == "no right image within 0.02 s"
    next(STAMPS)
    assert_still_answers(node)


def test_time_running_back_is_noticed_and_survived(node, stamp):
    early = stamp - 1000 * SECOND
    node.send_pair(stamp)
    node.wait_report(stamp)
    node.send_image("left", early)
    node.send_image("right", early)
    assert node.wait_report(early).outcome == "published"
    assert "time jumped back" in node.log()
    later = early + SECOND // 10
    node.send_pair(later)
    assert node.wait_report(later).outcome == "published"
    node.reset()


def test_reset_answers_and_begins_the_counts_anew(node, stamp):
    node.send_pair(stamp)
    node.wait_report(stamp)
    answer = node.reset()
    assert answer.success
    stamp = next(STAMPS)
    node.send_pair(stamp)
    report = node.wait_report(stamp)
    assert (report.sets_formed, report.published, report.dropped) == (1, 1, 0)


def test_live_parameters_change_and_others_are_refused(node):
    assert node.set_parameter("output.max_markers", 5).successful
    refused = node.set_parameter("system.precision", "bf16")
    assert not refused.successful and "unconfigured" in refused.reason
    refused = node.set_parameter("output.max_height_m", 100.0)
    assert refused.successful  # the band still holds layers of the grid
    refused = node.set_parameter("output.min_height_m", 99.0)
    assert not refused.successful and "holds no voxel layer" in refused.reason
    assert node.set_parameter("output.max_height_m", 0.6).successful


def test_markers_appear_when_asked_for(node, stamp):
    from visualization_msgs.msg import MarkerArray

    assert node.set_parameter("output.markers", True).successful
    listener = node.listen(f"/{NAME}/markers", MarkerArray)
    node.spin_for(0.5)
    node.send_pair(stamp)
    node.spin_until(lambda: node.received[f"/{NAME}/markers"], "markers")
    (marker,) = node.received[f"/{NAME}/markers"][0].markers
    assert len(marker.points) == 5
    offset = np.abs([(p.x, p.y, p.z) for p in marker.points] - live.CUBE_M)
    assert (offset < (1.7, 0.7, 0.7)).all()
    node.node.destroy_subscription(listener)
    assert node.set_parameter("output.markers", False).successful


def test_diagnostics_name_the_inputs(node, stamp):
    from diagnostic_msgs.msg import DiagnosticArray

    node.listen("/diagnostics", DiagnosticArray)
    node.send_pair(stamp)
    node.spin_until(lambda: node.received["/diagnostics"], "diagnostics")
    status = node.received["/diagnostics"][-1].status[0]
    values = {item.key: item.value for item in status.values}
    assert values["state"] == "active"
    assert values["left topic"] == "/left/image_rect"
    assert status.name == f"/{NAME}"


# --- other starts --------------------------------------------------------------------------------


def test_compressed_images_and_a_missing_transform(tmp_path, stamp):
    node = live.Live(
        "ros.carving_node", NAME, tmp_path / "log", "-p", "cameras.compressed:=true",
        "-p", "frames.grid_pose_in_base:=[0.5, 0.2, 0.8, 0.02, -0.03, 0.1]",
    )  # fmt: skip
    try:
        node.wait_active(compressed=True)

        def send(time_ns):
            for role in ("left", "right"):
                node.send_info(role, time_ns)
                png = cv2.imencode(".png", live.render(role)[..., ::-1])[1].tobytes()
                node.send_compressed(role, time_ns, png, "rgb8; png compressed bgr8")

        send(stamp)
        assert drop_of(node, stamp) == "no transform"
        assert "frame 'left_optical' does not exist" in node.log()
        node.send_transforms(("left", "right"))  # the grid's frame is the node's own broadcast
        node.spin_for(0.3)
        send(later := stamp + SECOND)
        message = node.wait_message(f"/{NAME}/voxels", later)
        cells = np.argwhere(voxels_of(message) == 1)
        corner = np.array([message.origin.position.x, message.origin.position.y,
                           message.origin.position.z])  # fmt: skip
        near, inside = live.is_at_the_cube(corner + (cells + 0.5) * message.resolution)
        assert near and inside >= 20
    finally:
        node.close()
    assert node.process.returncode == 0


def test_a_manager_in_another_process_drives_the_lifecycle(tmp_path, stamp):
    from lifecycle_msgs.msg import Transition

    node = live.Live("ros.carving_node", NAME, tmp_path / "log", "-p", "autostart:=false")
    try:
        assert node.state() == "unconfigured"
        assert node.change_state(Transition.TRANSITION_CONFIGURE)
        assert node.state() == "inactive"
        assert node.change_state(Transition.TRANSITION_ACTIVATE)
        node.wait_active()
        node.send_transforms()
        node.spin_for(0.3)
        node.send_pair(stamp)
        assert node.wait_report(stamp).outcome == "published"
        assert node.change_state(Transition.TRANSITION_DEACTIVATE)
        node.spin_until(
            lambda: not node.publishers["/left/image_rect"].get_subscription_count(),
            "the end of the subscription",
        )
        assert node.change_state(Transition.TRANSITION_CLEANUP)
        assert node.state() == "unconfigured"
        # Configured anew, as a system that wants to know the robot's motion.
        assert node.set_parameter("system.preset", "moving").successful
        assert node.change_state(Transition.TRANSITION_CONFIGURE)
        assert node.change_state(Transition.TRANSITION_ACTIVATE)
        node.wait_active()
        node.wait_listening("/tf")
        node.spin_for(0.3)
        later = stamp + SECOND
        for x_m, time_ns in ((0.0, stamp), (8.0, later), (8.2, later + SECOND // 10)):
            node.send_odometry(x_m, time_ns)
        node.send_pair(stamp + SECOND // 2)
        car = voxels_of(node.wait_message(f"/{NAME}/voxels", stamp + SECOND // 2))
        node.send_pair(later)
        truck = voxels_of(node.wait_message(f"/{NAME}/voxels", later))
        assert (set(np.unique(car)), set(np.unique(truck))) == ({0, 1}, {0, 4})
    finally:
        node.close()
    assert node.process.returncode == 0
    assert "Traceback" not in node.log()
