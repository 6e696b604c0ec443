"""Which cameras each system wants: known without loading one, so that launch files stay light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

STEREO = ("left", "right")
MONO = ("camera",)
SURROUND_CAMERAS = (
    "CAM_FRONT_LEFT",
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_LEFT",
    "CAM_BACK",
    "CAM_BACK_RIGHT",
)

# The same as `needs.cameras` of each system; a test holds them together.
ROLES: Mapping[str, tuple[str, ...]] = {
    "vlscene": STEREO,
    "vipocc": MONO,
    "scenedino": MONO,
    "langocc": SURROUND_CAMERAS,
    "gaussianflowocc": SURROUND_CAMERAS,
}
# Systems whose classes are words, and what others offer beside voxels; a test holds both to the
# systems.
PROMPTED = frozenset({"langocc"})
OFFERS: Mapping[str, tuple[str, ...]] = {
    "vipocc": ("depth", "predicted_depth"),
    "scenedino": ("depth", "feature_picture", "segmentation"),
    "gaussianflowocc": ("gaussians",),
}


def anchor_of(roles: Sequence[str]) -> str:
    """The camera whose images define the sets and whose stamp an answer carries.

    The front camera of a surround rig, since its images are in the middle of a turn of the
    scanner that triggers them; else the first.
    """
    return next((role for role in roles if role.lower().endswith("cam_front")), roles[0])


def topic_part(role: str) -> str:
    """The role as a part of topic names and arguments: ROS names are in lower case."""
    return role.lower()
