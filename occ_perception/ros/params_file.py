"""Parameter files, looked at before ROS reads them: rcl names neither the place nor the cure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from occ_perception.core.errors import ConfigError

_PARAMETERS = "ros__parameters"
_FORM = "a file begins with `/**:` and below it `ros__parameters:`, see config/vlscene.yaml"


def check_params_file(path: Path, node: str = "") -> None:
    """Refuse a file that ROS cannot read, or would read without setting anything.

    Args:
        path: YAML file with parameters.
        node: Node that the file must have a section for; empty = of any node.

    Raises:
        ConfigError: The file is missing, no YAML, of another form, or not meant for the node.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"parameter file '{path}' cannot be read ({error.strerror}); check the path"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())
        raise ConfigError(f"parameter file '{path}' is no YAML ({where}); {_FORM}") from None
    if content is None:  # nothing but comments: all defaults
        return
    sections = list(_sections(content, "", path))
    meant = {name.rpartition("/")[2] for name in sections}
    if node and not meant & {node, "*", "**"}:
        raise ConfigError(
            f"parameter file '{path}' sets parameters of {', '.join(sections)} only, none of "
            f"{node}; name the section '/**' or '{node}'"
        )


def _sections(content: object, name: str, path: Path) -> Iterator[str]:
    """Names of the nodes that a tree of namespaces has parameters for."""
    if not isinstance(content, Mapping) or not content:
        where = f"section '{name}'" if name else "its content"
        raise ConfigError(
            f"parameter file '{path}': {where} is no mapping with '{_PARAMETERS}'; {_FORM}"
        )
    for key, value in content.items():
        if key != _PARAMETERS:
            yield from _sections(value, f"{name}/{key}" if name else str(key), path)
        elif isinstance(value, Mapping | None):
            yield name
        else:
            raise ConfigError(
                f"parameter file '{path}': '{_PARAMETERS}' of '{name}' is no mapping; {_FORM}"
            )
