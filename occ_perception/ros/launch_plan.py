"""What is started together: node, bag player, recorder, viewer.

The one list behind `ros2 launch` and `occ run`; it imports neither rclpy nor launch.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import pkgutil
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import occ_perception.nodes
from occ_perception.bags.reader import BagReader
from occ_perception.bags.stereo import StereoTopics, find_stereo, info_topic
from occ_perception.bags.topics import COMPRESSED
from occ_perception.core.errors import BagError, ConfigError
from occ_perception.ros.params_file import check_params_file
from occ_perception.ros.share import PACKAGE, share_file

# Fast DDS 2 (Jazzy) reads the first, Fast DDS 3 the second; each ignores the other.
_PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
_OUTPUTS = ("voxels", "grid", "points", "label_map", "latency")
_INPUTS = ("left/image_rect", "right/image_rect", "left/camera_info", "right/camera_info")
_NODE = "_node"


def _argument(default: Any, description: str) -> Any:
    return field(default=default, metadata={"description": description})


@dataclass(frozen=True)
class LaunchArguments:
    """What a user may change; nothing else."""

    bag: str = _argument("", "bag to play; empty = live topics")
    rviz: bool = _argument(False, "open RViz, where it is installed")
    params: str = _argument("", "YAML file with parameters; empty = the shipped one")
    weights: str = _argument("", "safetensors file of the weights; empty = as params says")
    device: str = _argument("", "auto, cpu, cuda:0, ...; empty = as params says")
    preset: str = _argument("", "size of the network: published or nano; empty = as params says")
    output: str = _argument("", "bag to record inputs and outputs to; empty = none")
    overwrite: bool = _argument(False, "replace the output bag if it exists")
    rate: float = _argument(1.0, "bag seconds per second")
    wait: bool = _argument(True, "play the next image only when the last one was answered")
    left_image: str = _argument("", "topic of the left images; empty = found in the bag")
    right_image: str = _argument("", "topic of the right images; empty = found in the bag")
    left_info: str = _argument("", "CameraInfo of the left camera; empty = beside its images")
    right_info: str = _argument("", "CameraInfo of the right camera; empty = beside its images")
    compressed: bool = _argument(False, "live images are CompressedImage; of a bag it is known")


@dataclass(frozen=True)
class Argument:
    """A launch argument as text.

    Attributes:
        name: Its name.
        default: Default as a launch file says it.
        description: One sentence.
        choices: All allowed values, or empty.
    """

    name: str
    default: str
    description: str
    choices: tuple[str, ...] = ()


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


def declared_arguments() -> tuple[Argument, ...]:
    """The arguments of a launch file, from the dataclass."""
    return tuple(
        Argument(
            item.name,
            str(item.default).lower() if isinstance(item.default, bool) else str(item.default),
            item.metadata["description"],
            ("true", "false") if isinstance(item.default, bool) else (),
        )
        for item in dataclasses.fields(LaunchArguments)
    )


def from_text(values: Mapping[str, str]) -> LaunchArguments:
    """Arguments as a launch file has them.

    Raises:
        ConfigError: A value cannot be read.
    """
    read: dict[str, Any] = {}
    for item in dataclasses.fields(LaunchArguments):
        text = values.get(item.name)
        if text is None:
            continue
        try:
            read[item.name] = _read(text, type(item.default))
        except (ValueError, KeyError):
            kind = "true or false" if isinstance(item.default, bool) else "a number"
            raise ConfigError(f"argument '{item.name}' is '{text}', it must be {kind}") from None
    return LaunchArguments(**read)


def _read(text: str, kind: type) -> Any:
    return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)


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
        BagError: The bag cannot be read, its stereo pair is not clear, or it is the output, too.
    """
    name, env = node_name(system), dds_variables()
    inputs = _find_inputs(arguments)
    if arguments.bag and arguments.output and is_same_bag(arguments.bag, arguments.output):
        raise BagError(f"the output {arguments.output} is the bag to play: choose another output")
    specs = [_node(name, system, arguments, inputs, env)]
    if arguments.output:
        specs.append(_recorder(name, arguments, inputs, env))
    if arguments.bag:
        specs.append(_player(name, arguments, inputs, env))
    if arguments.rviz and shutil.which("rviz2"):
        specs.append(_viewer(system, inputs, env))
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


def _find_inputs(arguments: LaunchArguments) -> StereoTopics:
    """Topics of the pair: as named, else found in the bag, else the node's own names."""
    left, right = arguments.left_image, arguments.right_image
    if bool(left) != bool(right):
        raise ConfigError("name both left_image and right_image, or none of them")
    if not left:
        left, right = (f"/{topic}" for topic in _INPUTS[:2])
    infos = info_topic(left), info_topic(right)
    compressed = arguments.compressed or left.endswith(COMPRESSED)
    if compressed:
        left, right = (f"{topic.removesuffix(COMPRESSED)}{COMPRESSED}" for topic in (left, right))
    found = StereoTopics(left, right, *infos, compressed=compressed)
    if arguments.bag:
        with BagReader(arguments.bag) as bag:
            found = _in_bag(bag, found) if arguments.left_image else find_stereo(bag)
    return dataclasses.replace(
        found,
        left_info=arguments.left_info or found.left_info,
        right_info=arguments.right_info or found.right_info,
    )


def _in_bag(bag: BagReader, named: StereoTopics) -> StereoTopics:
    """The named images, compressed if the bag has only those."""
    for topic in (named.left_image, named.right_image):
        if topic not in bag.topics and f"{topic}{COMPRESSED}" not in bag.topics:
            raise BagError(
                f"bag {bag.path} has no topic {topic}; it has {', '.join(bag.topics) or 'none'}"
            )
    if named.left_image in bag.topics:
        return named
    left, right = (f"{topic}{COMPRESSED}" for topic in (named.left_image, named.right_image))
    return dataclasses.replace(named, left_image=left, right_image=right, compressed=True)


def _node(
    name: str,
    system: str,
    arguments: LaunchArguments,
    inputs: StereoTopics,
    env: Mapping[str, str],
) -> ProcessSpec:
    file = arguments.params or str(share_file(f"config/{system}.yaml"))
    check_params_file(Path(file), name)
    words = ["--ros-args", "--params-file", file]
    for parameter in ("weights", "device", "preset"):
        if value := getattr(arguments, parameter):
            # Quoted, so that YAML takes any path for a string.
            words += ["-p", f"system.{parameter}:={json.dumps(value)}"]
    if inputs.compressed:
        words += ["-p", "cameras.compressed:=true"]
    if arguments.bag:
        words += ["-p", "use_sim_time:=true"]
    for own, topic in zip(_INPUTS, _node_topics(inputs), strict=True):
        if topic != f"/{own}":
            words += ["-r", f"{own}:={topic}"]
    return ProcessSpec(name, name, f"{PACKAGE}.nodes.{name}", tuple(words), env)


def _node_topics(inputs: StereoTopics) -> tuple[str, str, str, str]:
    """Names for remapping: the node appends /compressed itself, as image_transport does."""
    left, right = (t.removesuffix(COMPRESSED) for t in (inputs.left_image, inputs.right_image))
    return left, right, inputs.left_info, inputs.right_info


def _player(
    name: str, arguments: LaunchArguments, inputs: StereoTopics, env: Mapping[str, str]
) -> ProcessSpec:
    words = [arguments.bag, "--rate", str(arguments.rate)]
    if topics := foreign_topics(arguments.bag, name):
        words += ["--topics", *topics]
    if arguments.wait:
        words += ["--wait-for", f"/{name}/latency", "--anchor", inputs.left_image]
    module = f"{PACKAGE}.nodes.bag_player"
    return ProcessSpec("bag_player", "bag_player", module, tuple(words), env)


def _recorder(
    name: str, arguments: LaunchArguments, inputs: StereoTopics, env: Mapping[str, str]
) -> ProcessSpec:
    topics = [
        *(f"/{name}/{output}" for output in _OUTPUTS),
        *dataclasses.astuple(inputs)[:4],
        "/tf",
        "/tf_static",
    ]
    words = [arguments.output, *(["--overwrite"] if arguments.overwrite else []), "--topics"]
    module = f"{PACKAGE}.nodes.bag_recorder"
    return ProcessSpec("bag_recorder", "bag_recorder", module, (*words, *topics), env)


def _viewer(system: str, inputs: StereoTopics, env: Mapping[str, str]) -> ProcessSpec:
    words = ["-d", str(share_file(f"config/{system}.rviz"))]
    image = _node_topics(inputs)[0]
    if image != f"/{_INPUTS[0]}":
        words += ["--ros-args", "-r", f"/{_INPUTS[0]}:={image}"]
    return ProcessSpec("rviz", "rviz2", "", tuple(words), env, package="rviz2")
