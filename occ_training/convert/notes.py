"""The README.md beside converted bags: what frames, stamps and camera models mean in them."""

from __future__ import annotations

from pathlib import Path

from occ_perception.core.errors import BagError

COMMON = """# Bags made by `occ convert {dataset}`

One folder per drive or scene: an MCAP file and its metadata.yaml. `inventory.json` lists for each
the messages by topic, what the data set does not have, and what was damaged.

- Stamps: header stamp and message time are those of the data set, in nanoseconds.
- Frames: map -> odom -> base_link -> sensors (REP 105); base_link has x forward, y left, z up and
  lies on the ground; optical frames (z forward, x right) end in `_optical`.
- camera_info: rectified images have D = 0, R = identity, K = left part of P. Of a stereo pair the
  left camera is the origin (Tx = 0), the right one has Tx = -f * baseline; the full positions are
  in /tf_static.
- Truth is below /ground_truth. Voxels carry a mask of what is known; unknown is not free.
"""
KITTI = """- The odometry set has relative times. They count from noon (UTC) of the day of the
  recording, for sequences whose day is not published of 2011-10-03, or from --epoch.
"""
KITTI360 = """- Fisheyes: ROS has no MEI model. camera_info holds the nearest `equidistant` one: it
  leaves out the tangential terms (up to 0.5 px at the rim of the left, 1.5 px of the right camera);
  its radial error is below 0.1 px up to 95 degrees. The exact calibration, the data set's own file,
  is latched on `mei_calibration` beside the images.
- The frame `pose` is the data set's: x forward, y right, z down.
- There are no poses where the data set has none; nothing is filled in.
"""
OWN = {"kitti": KITTI, "semantickitti": KITTI, "kitti360": KITTI360, "sscbench": KITTI360}


def write_notes(out: Path, dataset: str) -> None:
    """Write README.md.

    Args:
        out: Folder with the bags.
        dataset: Name as `occ convert` takes it.

    Raises:
        BagError: The disk is full or cannot be written.
    """
    text = COMMON.format(dataset=dataset) + OWN.get(dataset, "")
    try:
        (out / "README.md").write_text(text, "utf-8")
    except OSError as error:
        raise BagError(f"{out / 'README.md'} cannot be written: {error.strerror}") from error
