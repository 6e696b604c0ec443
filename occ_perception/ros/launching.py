"""The launch plan as actions of `ros2 launch`; needs an installed ROS with launch."""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from occ_perception.ros.launch_arguments import declared_arguments, from_text
from occ_perception.ros.launch_plan import plan


def describe(system: str) -> LaunchDescription:
    """The arguments of a system and what they start."""
    arguments = declared_arguments(system)
    declared = [
        DeclareLaunchArgument(
            argument.name,
            default_value=argument.default,
            description=argument.description,
            choices=list(argument.choices) or None,
        )
        for argument in arguments
    ]

    def start(context: LaunchContext) -> list[Node]:
        """Turn the plan into actions, once the arguments are known."""
        names = (argument.name for argument in arguments)
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
            for spec in plan(system, from_text(system, values))
        ]

    return LaunchDescription([*declared, OpaqueFunction(function=start)])
