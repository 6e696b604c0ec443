"""A node in a process of its own, and a probe that talks to it over DDS."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from occ_msgs.msg import FrameLatency, LabelMap, VoxelGrid
from occ_perception.geometry.transforms import R_BODY_OPTICAL, inverse, rotation_rpy
from occ_perception.ros.messages import ros_types, set_header, stamp_ns, transform_stamped

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60.0
_DOMAINS = itertools.count()
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)

# --- the scene: a red cube in front of a wide stereo pair ----------------------------------------

WIDTH, HEIGHT, FOCAL_PX, BASELINE_M = 640, 360, 320.0, 4.0
CUBE_M, EDGE_M = np.array([6.1, 1.6, 0.4]), 0.8  # in the grid's frame; every axis differs


def pose(x, y, z, rotation):
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotation, (x, y, z)
    return T


T_BASE_GRID = pose(0.5, 0.2, 0.8, rotation_rpy(0.02, -0.03, 0.1))
T_BASE_CAM = {
    "left": pose(0.4, 2.0, 1.0, R_BODY_OPTICAL),
    "right": pose(0.4, 2.0 - BASELINE_M, 1.0, R_BODY_OPTICAL),
}
P_LEFT = np.array(
    [[FOCAL_PX, 0, WIDTH / 2, 0], [0, FOCAL_PX, HEIGHT / 2, 0], [0, 0, 1, 0]], np.float64
)
P_RIGHT = P_LEFT - np.array([[0, 0, 0, FOCAL_PX * BASELINE_M], [0] * 4, [0] * 4])
PROJECTIONS = {"left": P_LEFT, "right": P_RIGHT}


def render(role):
    """The view of one camera, `[H, W, 3]` uint8 RGB: rays against the cube, grey elsewhere."""
    T_grid_cam = inverse(T_BASE_GRID) @ T_BASE_CAM[role]
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack([(u - WIDTH / 2) / FOCAL_PX, (v - HEIGHT / 2) / FOCAL_PX, np.ones(u.shape)], -1)
    directions = rays @ T_grid_cam[:3, :3].T
    corners = np.stack([CUBE_M - EDGE_M / 2, CUBE_M + EDGE_M / 2])
    hits = (corners[:, None, None] - T_grid_cam[:3, 3]) / directions
    is_hit = hits.min(0).max(-1) < hits.max(0).min(-1)
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    image[::7] = 130
    image[is_hit] = (255, 0, 0)
    return image


def is_at_the_cube(points_m):
    """Whether points are what stereo carving leaves of the cube, and how many lie within it.

    Two views cannot see how deep a thing is: the hull is long along the viewing direction (x).
    """
    offset = np.asarray(points_m) - CUBE_M
    near = (np.abs(offset) < EDGE_M / 2 + np.array([1.3, 0.3, 0.3])).all()
    centred = (np.abs(offset.mean(0)) < 0.25).all()
    inside = (np.abs(offset) < EDGE_M / 2).all(-1).sum()
    return bool(near and centred), int(inside)


# --- the probe --------------------------------------------------------------------------------


class Live:
    """Starts a node and exchanges messages with it."""

    def __init__(self, module, name, log, *arguments):
        self.name = name
        self.log_path = log
        # A domain of its own: what an earlier node latched must not be heard here.
        domain = (int(os.environ["ROS_DOMAIN_ID"]) + next(_DOMAINS)) % 102
        environment = os.environ | {
            "ROS_DOMAIN_ID": str(domain),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{REPOSITORY / 'test'}:{REPOSITORY}",
        }
        self._log = log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "--ros-args", "-p", "system.device:=cpu", *arguments],
            env=environment,
            cwd=REPOSITORY,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("probe", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.received = {}
        self.clients = {}
        self.publishers = {}
        for role in ("left", "right"):
            self.advertise(f"/{role}/image_rect", Image)
            self.advertise(f"/{role}/image_rect/compressed", CompressedImage)
            self.advertise(f"/{role}/camera_info", CameraInfo)
        self.advertise("/tf_static", TFMessage, LATCHED)
        self.advertise("/tf", TFMessage)
        self.listen(f"/{name}/voxels", VoxelGrid)
        self.listen(f"/{name}/latency", FrameLatency, 100)
        self.listen(f"/{name}/label_map", LabelMap, LATCHED)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        self.process.kill()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)
        self._log.close()

    def log(self):
        return self.log_path.read_text()

    def advertise(self, topic, kind, qos=10):
        self.publishers[topic] = self.node.create_publisher(kind, topic, qos)

    def listen(self, topic, kind, qos=10):
        self.received[topic] = []
        return self.node.create_subscription(kind, topic, self.received[topic].append, qos)

    def spin_until(self, condition, what):
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert self.process.poll() is None, f"the node ended; log:\n{self.log()}"
            assert time.monotonic() < deadline, f"waited in vain for {what}; log:\n{self.log()}"
            self.executor.spin_once(timeout_sec=0.05)

    def spin_for(self, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.05)

    def wait_listening(self, *topics):
        """Until the node hears these topics."""
        self.spin_until(
            lambda: all(self.publishers[t].get_subscription_count() for t in topics), topics
        )

    def wait_active(self, *, compressed=False):
        suffix = "/compressed" if compressed else ""
        self.wait_listening(
            *(f"/{r}/image_rect{suffix}" for r in ("left", "right")),
            *(f"/{r}/camera_info" for r in ("left", "right")),
            "/tf_static",
        )
        # Reports must not be lost either: the probe has to be known to the node.
        self.spin_until(
            lambda: all(
                self.node.count_publishers(f"/{self.name}/{t}") for t in ("voxels", "latency")
            ),
            "the outputs",
        )
        self.spin_for(0.3)

    def call(self, kind, service, **fields):
        if service not in self.clients:
            client = self.clients[service] = self.node.create_client(
                kind, f"/{self.name}/{service}"
            )
            self.spin_until(client.service_is_ready, service)
            # Ready says that requests arrive; the way back may be discovered a little later, and
            # an answer sent before is lost (a known race of Fast DDS).
            self.spin_for(1.0)
        future = self.clients[service].call_async(kind.Request(**fields))
        self.spin_until(future.done, f"an answer of {service}")
        return future.result()

    def reset(self):
        return self.call(Trigger, "reset")

    def change_state(self, transition):
        request = ChangeState.Request()
        request.transition.id = transition
        return self.call(ChangeState, "change_state", transition=request.transition).success

    def state(self):
        return self.call(GetState, "get_state").current_state.label

    def set_parameter(self, name, value):
        parameter = Parameter(
            name=name, value=rclpy.Parameter(name, value=value).get_parameter_value()
        )
        return self.call(SetParameters, "set_parameters", parameters=[parameter]).results[0]

    # --- sending

    def send_transforms(self, frames=("left", "right", "grid")):
        poses = {
            "left": ("left_optical", T_BASE_CAM["left"]),
            "right": ("right_optical", T_BASE_CAM["right"]),
            "grid": ("velodyne", T_BASE_GRID),
        }
        types = ros_types()
        message = TFMessage(
            transforms=[transform_stamped(types, 0, "base_link", *poses[f]) for f in frames]
        )
        self.publishers["/tf_static"].publish(message)

    def send_odometry(self, x_m, time_ns):
        T = pose(x_m, 0, 0, np.eye(3))
        stamped = transform_stamped(ros_types(), time_ns, "odom", "base_link", T)
        self.publishers["/tf"].publish(TFMessage(transforms=[stamped]))

    def send_info(self, role, time_ns, P=None, size=(WIDTH, HEIGHT)):
        info = CameraInfo(width=size[0], height=size[1], distortion_model="plumb_bob")
        set_header(info.header, time_ns, f"{role}_optical")
        P = PROJECTIONS[role] if P is None else P
        info.p, info.k = P.ravel(), P[:, :3].ravel()
        self.publishers[f"/{role}/camera_info"].publish(info)

    def send_image(self, role, time_ns, pixels=None, encoding="rgb8", **changes):
        pixels = render(role) if pixels is None else pixels
        message = Image(
            width=pixels.shape[1], height=pixels.shape[0], encoding=encoding,
            step=int(pixels[0].nbytes),
        )  # fmt: skip
        set_header(message.header, time_ns, f"{role}_optical")
        message.data.frombytes(np.ascontiguousarray(pixels))
        for name, value in changes.items():
            setattr(message, name, value)
        self.publishers[f"/{role}/image_rect"].publish(message)

    def send_compressed(self, role, time_ns, data, form):
        message = CompressedImage(format=form)
        set_header(message.header, time_ns, f"{role}_optical")
        message.data.frombytes(data)
        self.publishers[f"/{role}/image_rect/compressed"].publish(message)

    def send_pair(self, time_ns):
        for role in ("left", "right"):
            self.send_info(role, time_ns)
            self.send_image(role, time_ns)

    # --- receiving

    def latencies(self):
        return {stamp_ns(m.header.stamp): m for m in self.received[f"/{self.name}/latency"]}

    def wait_report(self, time_ns):
        """What became of the anchor image of that stamp."""
        self.spin_until(lambda: time_ns in self.latencies(), f"the report of {time_ns}")
        return self.latencies()[time_ns]

    def wait_message(self, topic, time_ns):
        def found():
            return [m for m in self.received[topic] if stamp_ns(m.header.stamp) == time_ns]

        self.spin_until(found, f"{topic} of {time_ns}")
        return found()[0]
