"""The node of the product around the carving system, as a process of its own."""

import sys

from ros.carving_system import FAR, NEAR, CarvingSystem

from occ_perception.ros.loading import Loaded
from occ_perception.ros.system_node import run


def load(settings):
    preset = settings.system.preset
    grid = FAR if preset == "street" else NEAR
    system = CarvingSystem(settings.frames.grid, ego_motion=preset == "moving", grid=grid)
    return Loaded(system, "cpu", "carving")


if __name__ == "__main__":
    sys.exit(run("carving_node", load))
