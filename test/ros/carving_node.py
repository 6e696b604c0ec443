"""The node of the product around the carving system, as a process of its own."""

import sys

from ros.carving_system import CarvingSystem

from occ_perception.ros.loading import Loaded
from occ_perception.ros.node import run


def load(settings):
    return Loaded(CarvingSystem(settings.frames.grid), "cpu", "carving")


if __name__ == "__main__":
    sys.exit(run("carving_node", load))
