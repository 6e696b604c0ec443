"""The calibrated cameras of a bag: what CameraInfo says, checked for the whole bag."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occ_perception.bags.calibrated import info_topic
from occ_perception.bags.index import BagIndex, MessageStore, TopicIndex
from occ_perception.bags.messages import STAMP_FIRST, MessageTypes
from occ_perception.bags.side_files import from_json_array, json_array, side_file
from occ_perception.bags.topics import TopicKind, kind_of
from occ_perception.core.errors import CalibrationError
from occ_perception.geometry.transforms import Matrix

FILE_NAME = ".occ_cameras.npz"
INFO_TYPE = "sensor_msgs/msg/CameraInfo"
IMAGES = (TopicKind.IMAGE, TopicKind.COMPRESSED_IMAGE)


@dataclass(frozen=True, eq=False)
class BagCamera:
    """One camera of a bag.

    Attributes:
        image: Image topic, with /compressed where it is compressed.
        frame_id: Optical frame.
        width: Pixels.
        height: Pixels.
        model: Distortion model of the image as it is.
        D: Its coefficients.
        K: `[3, 3]` of the image as it is, pixels.
        R: `[3, 3]` rectifying rotation.
        P: `[3, 4]` of the rectified image, pixels.
    """

    image: str
    frame_id: str
    width: int
    height: int
    model: str
    D: tuple[float, ...]
    K: Matrix
    R: Matrix
    P: Matrix

    @property
    def is_calibrated(self) -> bool:
        """Whether there is a focal length at all: zeros mean "not calibrated" in ROS."""
        return bool(self.P[0, 0] > 0 and self.P[1, 1] > 0)

    @property
    def is_rectified(self) -> bool:
        """Whether the image is a pinhole image as it is."""
        same = np.allclose(self.K, self.P[:, :3]) and np.allclose(self.R, np.eye(3))
        return not any(self.D) and self.model != "equidistant" and bool(same)

    @property
    def field_of_view_deg(self) -> tuple[float, float]:
        """Horizontal and vertical field of view, degrees; of a fisheye along the axes."""
        K = self.K if self.model == "equidistant" else self.P[:, :3]
        spans = []
        for axis, size in enumerate((self.width, self.height)):
            sides = np.array([K[axis, 2], size - K[axis, 2]]) / K[axis, axis]
            angles = sides if self.model == "equidistant" else np.arctan(sides)
            spans.append(float(np.rad2deg(angles.sum())))
        return spans[0], spans[1]


def cameras_of_bag(index: BagIndex, store: MessageStore) -> dict[str, BagCamera]:
    """Cameras by image topic; image topics without a CameraInfo beside them are left out.

    Raises:
        CalibrationError: A calibration changes within the bag.
        BagError: A message is damaged.
    """
    arrays = side_file(
        index.path,
        index.identity,
        FILE_NAME,
        lambda: {"infos": json_array(_read_infos(index, store))},
    )
    infos = from_json_array(arrays["infos"])
    cameras: dict[str, BagCamera] = {}
    for topic in index.topics.values():
        values = infos.get(info_topic(topic.name))
        if kind_of(topic.name, topic.msgtype) in IMAGES and values is not None:
            cameras[topic.name] = _camera(topic.name, values)
    return cameras


def _read_infos(index: BagIndex, store: MessageStore) -> dict[str, dict[str, object]]:
    types = MessageTypes()
    infos = {}
    for topic in index.topics.values():
        if topic.msgtype == INFO_TYPE and len(topic):
            _check_constant(topic, store)
            message = types.decode(INFO_TYPE, store.read(topic.place(0)))
            infos[topic.name] = {
                "frame_id": message.header.frame_id.lstrip("/"),
                "size": [message.width, message.height],
                "model": message.distortion_model,
                **{name: getattr(message, name).tolist() for name in "dkrp"},
            }
    return infos


def _check_constant(topic: TopicIndex, store: MessageStore) -> None:
    """Refuse a topic whose calibration changes."""
    first = None
    for row in range(len(topic)):
        data = store.read(topic.place(row))
        content = data[:STAMP_FIRST] + data[STAMP_FIRST + 8 :]
        if first is not None and content != first:
            raise CalibrationError(
                f"the calibration on {topic.name} changes at stamp {int(topic.stamps_ns[row])}: "
                "cut the bag there and use the parts"
            )
        first = content


def _camera(image: str, values: dict) -> BagCamera:
    K, R, P = (np.array(values[n]).reshape(3, -1) for n in "krp")
    return BagCamera(
        image, values["frame_id"], *values["size"], values["model"], tuple(values["d"]), K, R, P
    )
