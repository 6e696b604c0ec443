"""`occ bench`: measure speed and memory on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from tyro.conf import Positional

from occ_perception.core.errors import ConfigError

FOLDER = Path(__file__).resolve().parents[2] / "test" / "bench"
PREFIX = "bench_"

DESCRIPTION = """Measure speed and memory on this machine; each measurement prints JSON.

Examples:
  occ bench               (all)
  occ bench --list
  occ bench transport
  occ bench node --system gaussianflowocc    (six images of 1600x900 instead of a pair)"""


@dataclass(frozen=True)
class BenchOptions:
    """Measure speed and memory on this machine.

    Attributes:
        names: Measurements to take; all by default.
        list: Only say which there are.
        system: System whose node is measured, where a measurement is of a node.
    """

    names: Positional[tuple[str, ...]] = ()
    list: bool = False
    system: str | None = None


def main(arguments: Sequence[str]) -> int:
    """Run `occ bench`; the exit code is the worst of the measurements."""
    options = tyro.cli(BenchOptions, prog="occ bench", description=DESCRIPTION, args=arguments)
    scripts = find_scripts()
    if options.list:
        sys.stdout.writelines(f"{name}\n" for name in scripts)
        return 0
    if unknown := set(options.names) - set(scripts):
        raise ConfigError(
            f"unknown measurement {', '.join(sorted(unknown))}; there are: {', '.join(scripts)}"
        )
    wanted = options.names or tuple(scripts)
    if options.system and set(wanted) != {"node"}:
        raise ConfigError("--system belongs to the measurement 'node': occ bench node --system X")
    more = ["--system", options.system] if options.system else []
    return max(subprocess.call([sys.executable, str(scripts[name]), *more]) for name in wanted)


def find_scripts() -> dict[str, Path]:
    """Measurements by name.

    Raises:
        ConfigError: There are none: an installed package has no tests beside it.
    """
    scripts = {p.stem.removeprefix(PREFIX): p for p in sorted(FOLDER.glob(f"{PREFIX}*.py"))}
    if not scripts:
        raise ConfigError("the measurements are in a clone of the repository, in test/bench")
    return scripts
