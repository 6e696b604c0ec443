"""Point clouds of a bag as columns of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from occ_perception.bags.index import BagIndex
from occ_perception.core.errors import BagError

# sensor_msgs/PointField datatype -> numpy.
POINT_TYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8")


CLOUD = "sensor_msgs/msg/PointCloud2"


def find_cloud(index: BagIndex) -> str:
    """The only topic of LiDAR points that is no truth.

    Raises:
        BagError: There is none, or there are several.
    """
    names = [
        t.name for t in index.topics.values()
        if t.msgtype == CLOUD and len(t) and not t.name.startswith("/ground_truth/")
    ]  # fmt: skip
    if len(names) != 1:
        raise BagError(
            f"bag {index.path} has {len(names)} topics of LiDAR points {names}: name one"
        )
    return names[0]


def columns_of(message: Any) -> dict[str, npt.NDArray[np.generic]]:
    """Values of a PointCloud2 by name, one number per point.

    Raises:
        BagError: The buffer is shorter than its size says.
    """
    count = message.width * message.height
    if len(message.data) < count * message.point_step:
        raise BagError(f"a PointCloud2 of {count} points has {len(message.data)} bytes only")
    order = ">" if message.is_bigendian else "<"
    layout = np.dtype(
        {
            "names": [f.name for f in message.fields],
            "formats": [order + POINT_TYPES[f.datatype - 1] for f in message.fields],
            "offsets": [f.offset for f in message.fields],
            "itemsize": message.point_step,
        }
    )
    cloud = np.frombuffer(message.data, layout, count)
    return {name: np.ascontiguousarray(cloud[name]) for name in layout.names}
