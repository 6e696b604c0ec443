"""Start GaussianFlowOcc; `bag:=...` adds a player, `output:=...` a recorder, `rviz:=true` a viewer.

What is started stands in occ_perception/ros/launch_plan.py, which `occ run` reads as well.
"""

from launch import LaunchDescription

from occ_perception.ros.launching import describe


def generate_launch_description() -> LaunchDescription:
    """Describe the arguments and the start."""
    return describe("gaussianflowocc")
