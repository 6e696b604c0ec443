"""Converting in tests, and looking at what came out."""

import numpy as np

from occ_perception.bags.index import MessageStore, open_index
from occ_perception.bags.messages import MessageTypes
from occ_perception.bags.transforms import TransformTable
from occ_training.convert.content import Options
from occ_training.convert.runner import convert


def convert_all(scenes, out, **options):
    """Reports by the name of the scene."""
    return {r.scene: r for r in convert(scenes, out, Options(**options))}


class Opened:
    """A bag: messages by topic, transforms."""

    def __init__(self, path):
        self.index = open_index(path)
        self.store = MessageStore(self.index.files)
        self.types = MessageTypes()
        self.transforms = TransformTable.of_bag(self.index, self.store)

    def messages(self, topic):
        entry = self.index.topics[topic]
        return [
            self.types.decode(entry.msgtype, self.store.read(entry.place(row)))
            for row in range(len(entry))
        ]

    def stamps(self, topic):
        return self.index.topics[topic].stamps_ns.tolist()

    def matrix(self, topic, name):
        return getattr(self.messages(topic)[0], name).reshape(3, -1)


def stamp_of(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def points_of(message):
    """x, y, z of a PointCloud2."""
    data = np.frombuffer(message.data, np.uint8).reshape(-1, message.point_step)
    return np.ascontiguousarray(data[:, :12]).view("<f4")
