"""Names of the topics of nodes, known without ROS."""

from __future__ import annotations

from collections.abc import Mapping

from occ_perception.systems.roles import topic_part

# What a system may offer beside voxels -> outputs of its node.
OFFER_TOPICS: Mapping[str, tuple[str, ...]] = {
    "depth": ("depth", "depth/camera_info"),
    "predicted_depth": ("predicted_depth", "predicted_depth/camera_info"),
    "feature_picture": ("features",),
    "segmentation": ("segmentation",),
    "gaussians": ("gaussians", "flow"),
}


def image_input(role: str) -> str:
    """Name, relative to its node's namespace, under which a node wants the images of a camera."""
    return f"{topic_part(role)}/image_rect"


def info_input(role: str) -> str:
    """The same of the camera's calibration."""
    return f"{topic_part(role)}/camera_info"
