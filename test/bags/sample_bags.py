"""Small stereo bags for tests: images that tell their number, calibration, transforms."""

import numpy as np

from occ_perception.bags.topics import TopicQos
from occ_perception.bags.writer import BagWriter

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
LATCHED = TopicQos(latched=True, depth=1)


def header(stamp_ns, frame="camera"):
    sec, nanosec = divmod(stamp_ns, 10**9)
    return {"stamp": {"sec": sec, "nanosec": nanosec}, "frame_id": frame}


def image(stamp_ns, number, height=4, width=6):
    data = np.full((height, width, 3), number % 256, np.uint8)
    return {
        "header": header(stamp_ns),
        "height": height,
        "width": width,
        "encoding": "rgb8",
        "step": width * 3,
        "data": data,
    }


def camera_info(stamp_ns, tx, height=4, width=6):
    P = np.array([500.0, 0, 3, tx, 0, 500, 2, 0, 0, 0, 1, 0])
    return {"header": header(stamp_ns), "height": height, "width": width, "p": P}


def transform(stamp_ns, child):
    item = {"header": header(stamp_ns, "map"), "child_frame_id": child}
    return {"transforms": [item]}


def write_stereo_bag(
    path, frames=5, height=4, width=6, left="/camera/left", right="/camera/right", tx=-250.0
):
    """A bag as converters write it: per frame a pose and two images with their camera_info."""
    with BagWriter(path) as bag:
        static = transform(START_NS, "camera")
        bag.add_topic("/tf_static", "tf2_msgs/msg/TFMessage", qos=LATCHED)
        bag.write_message("/tf_static", "tf2_msgs/msg/TFMessage", START_NS, static)
        for number in range(frames):
            t = START_NS + number * PERIOD_NS
            bag.write_message("/tf", "tf2_msgs/msg/TFMessage", t, transform(t, "base_link"))
            for side, p in ((left, 0.0), (right, tx)):
                picture = image(t, number, height, width)
                info = camera_info(t, p, height, width)
                bag.write_message(f"{side}/image_rect", "sensor_msgs/msg/Image", t, picture)
                bag.write_message(f"{side}/camera_info", "sensor_msgs/msg/CameraInfo", t, info)
    return path
