"""What a user may change when a system is started, as text and as values.

Behind `ros2 launch` and `occ run`; imports neither rclpy nor launch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from occ_perception.core.errors import ConfigError
from occ_perception.systems.roles import PROMPTED, ROLES, topic_part


def _argument(default: Any, description: str) -> Any:
    return field(default=default, metadata={"description": description})


@dataclass(frozen=True)
class LaunchArguments:
    """What a user may change; nothing else.

    Attributes:
        images: Image topic by role; none = found in the bag, or the node's own names.
        infos: CameraInfo topic by role; one that is missing lies beside its images.
        prompts: Words to look for, for systems with prompts; none = as params says.
    """

    bag: str = _argument("", "bag to play; empty = live topics")
    rviz: bool = _argument(False, "open RViz, where it is installed")
    params: str = _argument("", "YAML file with parameters; empty = the shipped one")
    weights: str = _argument("", "safetensors file of the weights; empty = as params says")
    device: str = _argument("", "auto, cpu, cuda:0, ...; empty = as params says")
    preset: str = _argument("", "size of the network: published, nano, ...; empty = as params says")
    output: str = _argument("", "bag to record inputs and outputs to; empty = none")
    overwrite: bool = _argument(False, "replace the output bag if it exists")
    rate: float = _argument(1.0, "speed of playing the bag: its seconds per second")
    wait: bool = _argument(True, "play the next image only when the last one was answered")
    compressed: bool = _argument(False, "live images are CompressedImage; of a bag it is known")
    images: Mapping[str, str] = field(default_factory=dict)
    infos: Mapping[str, str] = field(default_factory=dict)
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Argument:
    """One argument of a system's launch file or command line.

    Attributes:
        name: Its name.
        value: Default.
        description: One sentence.
    """

    name: str
    value: bool | float | str
    description: str

    @property
    def default(self) -> str:
        """Default as a launch file says it."""
        return str(self.value).lower() if isinstance(self.value, bool) else str(self.value)

    @property
    def choices(self) -> tuple[str, ...]:
        """All allowed values, or empty."""
        return ("true", "false") if isinstance(self.value, bool) else ()


def declared_arguments(system: str) -> tuple[Argument, ...]:
    """The arguments of a system: those of all, and the topics of its cameras."""
    common = tuple(
        Argument(item.name, item.default, item.metadata["description"])
        for item in dataclasses.fields(LaunchArguments)
        if item.metadata
    )
    words = [Argument("prompts", "", "words to look for, with commas between; empty = as params")]
    return (*common, *(words if system in PROMPTED else ()), *_topic_arguments(system))


def _topic_arguments(system: str) -> Iterator[Argument]:
    roles = ROLES[system]
    for role in roles:
        about = f"topic of the images of camera '{role}'; empty = found in the bag"
        yield Argument(image_argument(role), "", about)
    for role in roles:
        about = f"CameraInfo of camera '{role}'; empty = beside its images"
        yield Argument(info_argument(role), "", about)


def image_argument(role: str) -> str:
    """Name of the argument for a camera's images."""
    return f"{topic_part(role)}_image"


def info_argument(role: str) -> str:
    """Name of the argument for a camera's calibration."""
    return f"{topic_part(role)}_info"


def from_values(system: str, values: Mapping[str, Any]) -> LaunchArguments:
    """Gather the arguments of a system from their values by name.

    Raises:
        ConfigError: Only some of its cameras have an image topic.
    """
    roles = ROLES[system]
    images = {r: values[image_argument(r)] for r in roles if values.get(image_argument(r))}
    if images and len(images) < len(roles):
        names = ", ".join(image_argument(role) for role in roles)
        raise ConfigError(f"name all of {names}, or none of them")
    infos = {r: values[info_argument(r)] for r in roles if values.get(info_argument(r))}
    prompts = tuple(word.strip() for word in values.get("prompts", "").split(",") if word.strip())
    common = {item.name for item in dataclasses.fields(LaunchArguments) if item.metadata}
    plain = {name: value for name, value in values.items() if name in common}
    return LaunchArguments(**plain, images=images, infos=infos, prompts=prompts)


def from_text(system: str, values: Mapping[str, str]) -> LaunchArguments:
    """Arguments as a launch file has them.

    Raises:
        ConfigError: A value cannot be read, or only some cameras have an image topic.
    """
    read: dict[str, Any] = {}
    for argument in declared_arguments(system):
        if argument.name not in values:
            continue
        text = values[argument.name]
        try:
            read[argument.name] = _read(text, type(argument.value))
        except (ValueError, KeyError):
            kind = "true or false" if argument.choices else "a number"
            raise ConfigError(
                f"argument '{argument.name}' is '{text}', it must be {kind}"
            ) from None
    return from_values(system, read)


def _read(text: str, kind: type) -> Any:
    return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
