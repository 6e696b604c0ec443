"""What is started together: node, bag player, recorder, viewer.

The one list behind `ros2 launch` and `occ run`; it imports neither rclpy nor launch.
"""

from __future__ import annotations

import difflib
import json
import os
import pkgutil
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import occ_perception.nodes
from occ_perception.bags.reader import BagReader
from occ_perception.bags.rigs import RigTopics, find_rig, named_rig, rig_in_bag
from occ_perception.core.errors import BagError, ConfigError
from occ_perception.ros.launch_arguments import LaunchArguments
from occ_perception.ros.params_file import check_params_file
from occ_perception.ros.share import PACKAGE, share_file
from occ_perception.ros.topics import OFFER_TOPICS, image_input, info_input
from occ_perception.systems.roles import OFFERS, ROLES, anchor_of

# Fast DDS 2 (Jazzy) reads the first, Fast DDS 3 the second; each ignores the other.
_PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
_OUTPUTS = ("voxels", "grid", "points", "label_map", "latency")
_NODE = "_node"


@dataclass(frozen=True)
class ProcessSpec:
    """One process.

    Attributes:
        name: What it is called in logs.
        executable: Program; in an installed ROS it lies in the package's lib folder.
        module: Python module that does the same with `python -m`; empty for foreign programs.
        arguments: Command line after the program.
        env: Environment variables to add.
        package: ROS package of the executable.
    """

    name: str
    executable: str
    module: str
    arguments: tuple[str, ...]
    env: Mapping[str, str]
    package: str = PACKAGE


def systems() -> list[str]:
    """Names of the systems that have a node."""
    found = (module.name for module in pkgutil.iter_modules(occ_perception.nodes.__path__))
    return sorted(name.removesuffix(_NODE) for name in found if name.endswith(_NODE))


def node_name(system: str) -> str:
    """Name of a system's node.

    Raises:
        ConfigError: There is no such system.
    """
    if system not in systems():
        near = difflib.get_close_matches(system, systems(), n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(f"unknown system '{system}'; {hint}available: {', '.join(systems())}")
    return f"{system}{_NODE}"


def dds_variables() -> dict[str, str]:
    """Variables that make Fast DDS carry whole images, unless the user has set them."""
    profile = str(share_file("config/fastdds.xml"))
    return {name: profile for name in _PROFILE_VARIABLES if not os.environ.get(name)}


def dds_environment() -> None:
    """Put `dds_variables` into the environment of this process; to be called before ROS starts."""
    os.environ.update(dds_variables())


def plan(system: str, arguments: LaunchArguments) -> list[ProcessSpec]:
    """The processes to start, in order: node, recorder, player, viewer.

    Raises:
        ConfigError: The system is unknown, a shipped file is missing, or the parameter file is not
            one for its node.
        BagError: The bag cannot be read, its cameras are not clear, or it is the output, too.
    """
    name, env = node_name(system), dds_variables()
    rig = find_inputs(system, arguments)
    if arguments.bag and arguments.output and is_same_bag(arguments.bag, arguments.output):
        raise BagError(f"the output {arguments.output} is the bag to play: choose another output")
    specs = [_node(name, system, arguments, rig, env)]
    if arguments.output:
        specs.append(_recorder(system, arguments, rig, env))
    if arguments.bag:
        specs.append(_player(system, arguments, rig, env))
    if arguments.rviz and shutil.which("rviz2"):
        specs.append(_viewer(system, rig, env))
    return specs


def is_same_bag(played: str, written: str) -> bool:
    """Whether a bag, or the bag that a file belongs to, lies where another one shall be."""
    path, target = Path(played).resolve(), Path(written).resolve()
    return target == (path if path.is_dir() else path.parent)


def foreign_topics(bag: str, name: str) -> list[str]:
    """Topics of a bag that a node does not publish itself, if there are any that it does.

    The output of an earlier run holds the node's answers; played again, they would pass for new.
    """
    with BagReader(bag) as reader:
        foreign = [topic for topic in reader.topics if not topic.startswith(f"/{name}/")]
        return foreign if len(foreign) < len(reader.topics) else []


def find_inputs(system: str, arguments: LaunchArguments) -> RigTopics:
    """Topics of the cameras: as named, else found in the bag, else the node's own names.

    Raises:
        BagError: The bag does not have the topics, or they are not clear.
    """
    roles = ROLES[system]
    images = arguments.images or {role: f"/{image_input(role)}" for role in roles}
    found = named_rig(images, arguments.infos, compressed=arguments.compressed)
    if arguments.bag:
        with BagReader(arguments.bag) as bag:
            found = rig_in_bag(bag, found) if arguments.images else find_rig(bag, roles)
    return RigTopics(found.images, {**found.infos, **arguments.infos})


def remappings(rig: RigTopics) -> list[tuple[str, str]]:
    """Inputs of a node and the topics that they are, where these have other names."""
    pairs = [(image_input(role), topic) for role, topic in rig.plain_images.items()]
    pairs += [(info_input(role), topic) for role, topic in rig.infos.items()]
    return [(own, topic) for own, topic in pairs if topic != f"/{own}"]


def outputs(system: str) -> list[str]:
    """Topics of a node that are worth recording."""
    names = [*_OUTPUTS, *(t for offer in OFFERS.get(system, ()) for t in OFFER_TOPICS[offer])]
    return [f"/{node_name(system)}/{name}" for name in names]


def _node(
    name: str, system: str, arguments: LaunchArguments, rig: RigTopics, env: Mapping[str, str]
) -> ProcessSpec:
    file = arguments.params or str(share_file(f"config/{system}.yaml"))
    check_params_file(Path(file), name)
    words = ["--ros-args", "--params-file", file]
    for parameter in ("weights", "device", "preset"):
        if value := getattr(arguments, parameter):
            # Quoted, so that YAML takes any path for a string.
            words += ["-p", f"system.{parameter}:={json.dumps(value)}"]
    if arguments.prompts:
        words += ["-p", f"prompts:={json.dumps(arguments.prompts)}"]
    if rig.compressed:
        words += ["-p", "cameras.compressed:=true"]
    if arguments.bag:
        words += ["-p", "use_sim_time:=true"]
    words += [word for own, topic in remappings(rig) for word in ("-r", f"{own}:={topic}")]
    return ProcessSpec(name, name, f"{PACKAGE}.nodes.{name}", tuple(words), env)


def _player(
    system: str, arguments: LaunchArguments, rig: RigTopics, env: Mapping[str, str]
) -> ProcessSpec:
    name = node_name(system)
    words = [arguments.bag, "--rate", str(arguments.rate)]
    if topics := foreign_topics(arguments.bag, name):
        words += ["--topics", *topics]
    if arguments.wait:
        anchor = rig.images[anchor_of(ROLES[system])]
        words += ["--wait-for", f"/{name}/latency", "--anchor", anchor]
    module = f"{PACKAGE}.nodes.bag_player"
    return ProcessSpec("bag_player", "bag_player", module, tuple(words), env)


def _recorder(
    system: str, arguments: LaunchArguments, rig: RigTopics, env: Mapping[str, str]
) -> ProcessSpec:
    topics = [*outputs(system), *rig.topics(), "/tf", "/tf_static"]
    words = [arguments.output, *(["--overwrite"] if arguments.overwrite else []), "--topics"]
    module = f"{PACKAGE}.nodes.bag_recorder"
    return ProcessSpec("bag_recorder", "bag_recorder", module, (*words, *topics), env)


def _viewer(system: str, rig: RigTopics, env: Mapping[str, str]) -> ProcessSpec:
    words = ["-d", str(share_file(f"config/{system}.rviz"))]
    images = [(own, topic) for own, topic in remappings(rig) if own.endswith("/image_rect")]
    if images:
        words += ["--ros-args"]
        words += [word for own, topic in images for word in ("-r", f"/{own}:={topic}")]
    return ProcessSpec("rviz", "rviz2", "", tuple(words), env, package="rviz2")
