"""`scenedino_node`: one image in; occupancy, depth, features, label-free classes out."""

from __future__ import annotations

import sys

from occ_perception.ros.system_node import run_system


def main(args: list[str] | None = None) -> int:
    """Run the node; returns the exit code."""
    return run_system("scenedino", args)


if __name__ == "__main__":
    sys.exit(main())
