"""Lists of frames as KITTI-360's and KITTI Raw's splits are published: drive, number, side."""

from __future__ import annotations

from pathlib import Path

from occ_perception.core.errors import ConfigError

Frame = tuple[str, int]
_SIDES = ("l", "r", "2", "3")  # Zhou's lists have letters, others the camera's number


def read_frames(path: Path) -> frozenset[Frame]:
    """The frames of a list, whichever sides it names: name of the drive and number of the frame.

    Args:
        path: Text with one "[day/]drive number [side]" per line.

    Raises:
        ConfigError: It cannot be read, or a line is something else.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"list of frames '{path}' cannot be read: {error}") from None
    frames = set()
    for row, line in enumerate(lines, start=1):
        words = line.split()
        is_frame = len(words) in (2, 3) and words[1].isdecimal()
        if words and not (is_frame and (len(words) == 2 or words[2] in _SIDES)):
            raise ConfigError(
                f"'{path}', line {row}: '{line}' is no frame; each line has a drive, a number and "
                "a side, e.g. 2013_05_28_drive_0000_sync 0000000250 l"
            )
        if words:
            frames.add((words[0].rsplit("/", 1)[-1], int(words[1])))
    return frozenset(frames)


def leak(train: frozenset[Frame], test: frozenset[Frame]) -> str:
    """A sentence on how many frames of the test are trained on; empty if none is."""
    both = len(train & test)
    if not both:
        return ""
    return (
        f"LEAKED: {both} of {len(test)} test frames are in the training list (as in ViPOcc's "
        "official KITTI Raw split); scores on that test are no measure of this training"
    )
