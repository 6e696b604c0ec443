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
  occ bench transport"""


@dataclass(frozen=True)
class BenchOptions:
    """Measure speed and memory on this machine.

    Attributes:
        names: Measurements to take; all by default.
        list: Only say which there are.
    """

    names: Positional[tuple[str, ...]] = ()
    list: bool = False


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
    return max(subprocess.call([sys.executable, str(scripts[name])]) for name in wanted)


def find_scripts() -> dict[str, Path]:
    """Measurements by name.

    Raises:
        ConfigError: There are none: an installed package has no tests beside it.
    """
    scripts = {p.stem.removeprefix(PREFIX): p for p in sorted(FOLDER.glob(f"{PREFIX}*.py"))}
    if not scripts:
        raise ConfigError("the measurements are in a clone of the repository, in test/bench")
    return scripts
