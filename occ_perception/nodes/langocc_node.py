"""`langocc_node`: six cameras and words in, 200x200x16 voxels of these words out."""

from __future__ import annotations

import sys

from occ_perception.ros.system_node import run_system


def main(args: list[str] | None = None) -> int:
    """Run the node; returns the exit code."""
    return run_system("langocc", args)


if __name__ == "__main__":
    sys.exit(main())
