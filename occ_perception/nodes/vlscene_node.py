"""`vlscene_node`: a rectified stereo pair in, 256x256x32 semantic voxels out."""

from __future__ import annotations

import sys

from occ_perception.ros.loading import loader_of
from occ_perception.ros.node import run


def main(args: list[str] | None = None) -> int:
    """Run the node; returns the exit code."""
    return run("vlscene_node", loader_of("vlscene"), args)


if __name__ == "__main__":
    sys.exit(main())
