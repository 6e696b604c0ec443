"""`gaussianflowocc_node`: six cameras in, moving semantic Gaussians and their voxels out."""

from __future__ import annotations

import sys

from occ_perception.ros.system_node import run_system


def main(args: list[str] | None = None) -> int:
    """Run the node; returns the exit code."""
    return run_system("gaussianflowocc", args)


if __name__ == "__main__":
    sys.exit(main())
