"""The node of the product around the carving system, as a process of its own."""

import sys

from ros.carving_system import CarvingSystem

from occ_perception.ros.loading import Loaded
from occ_perception.ros.node import run


def load(settings):
    ego_motion = settings.system.preset == "moving"
    return Loaded(CarvingSystem(settings.frames.grid, ego_motion=ego_motion), "cpu", "carving")


if __name__ == "__main__":
    sys.exit(run("carving_node", load))
