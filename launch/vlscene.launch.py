"""Start VLScene; with `bag:=...` also a player, with `output:=...` a recorder, with rviz a viewer.

What is started stands in occ_perception/ros/launch_plan.py, which `occ run vlscene` reads as well.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from occ_perception.ros.launch_plan import declared_arguments, from_text, plan

SYSTEM = "vlscene"


def start(context: LaunchContext) -> list[Node]:
    """Turn the plan into launch actions, once the arguments are known."""
    names = (argument.name for argument in declared_arguments())
    values = {name: LaunchConfiguration(name).perform(context) for name in names}
    return [
        Node(
            package=spec.package,
            executable=spec.executable,
            arguments=list(spec.arguments),
            additional_env=dict(spec.env),
            output="both",
            emulate_tty=True,
        )
        for spec in plan(SYSTEM, from_text(values))
    ]


def generate_launch_description() -> LaunchDescription:
    """Describe the arguments and the start."""
    declared = [
        DeclareLaunchArgument(
            argument.name,
            default_value=argument.default,
            description=argument.description,
            choices=list(argument.choices) or None,
        )
        for argument in declared_arguments()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
