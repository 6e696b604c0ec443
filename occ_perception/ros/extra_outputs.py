"""Publishers of what a system offers beside voxels; each is made only while somebody listens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from occ_perception.core.camera import Camera
from occ_perception.core.errors import PredictionError
from occ_perception.core.types import Prediction
from occ_perception.ros import extra_messages
from occ_perception.ros.outputs import Publishing
from occ_perception.ros.topics import OFFER_TOPICS
from occ_perception.ros.volume import Volume

_MOST_ARROWS = 200
_TYPES = {
    "depth": "Image",
    "depth/camera_info": "CameraInfo",
    "predicted_depth": "Image",
    "predicted_depth/camera_info": "CameraInfo",
    "features": "Image",
    "segmentation": "Image",
    "gaussians": "SemanticGaussians",
    "flow": "MarkerArray",
}


@dataclass(frozen=True, eq=False)
class Answer:
    """What the messages of one set have in common.

    Attributes:
        prediction: The system's answer.
        volume: Its voxels on the host.
        camera: First camera of the set, whose view pictures show.
        camera_frame: Its optical frame.
    """

    prediction: Prediction
    volume: Volume
    camera: Camera
    camera_frame: str


class ExtraOutputs(Publishing):
    """Lifecycle publishers of the topics that stand for a system's offers."""

    def __init__(self, node: Any, offers: Iterable[str]) -> None:
        """Advertise.

        Args:
            node: rclpy lifecycle node.
            offers: What the system can put into `Prediction.extras`.
        """
        super().__init__(node)
        self._offers = tuple(offers)
        self._publishers = {
            topic: self.advertise(_TYPES[topic], f"~/{topic}")
            for offer in self._offers
            for topic in OFFER_TOPICS[offer]
        }

    def wanted(self) -> frozenset[str]:
        """Offers that have listeners."""
        return frozenset(
            offer
            for offer in self._offers
            if any(self.is_heard(self._publishers[topic]) for topic in OFFER_TOPICS[offer])
        )

    def publish_all(self, answer: Answer) -> None:
        """Publish what the prediction carries.

        Raises:
            PredictionError: A picture or the Gaussians are not finite where they must be.
        """
        for offer in self.wanted():
            if offer == "gaussians":
                self._publish_gaussians(answer)
            elif offer in answer.prediction.extras:
                self._publish_picture(offer, answer)

    def _publish_picture(self, offer: str, answer: Answer) -> None:
        """A picture, and the calibration of its size where it is measured in."""
        pixels = answer.prediction.extras[offer].detach().cpu().numpy()
        stamp, frame = answer.prediction.stamp_ns, answer.camera_frame
        topic, *info_topics = OFFER_TOPICS[offer]
        if info_topics:
            message = extra_messages.depth_image(self.types, pixels, stamp, frame)
            camera = answer.camera.resized(pixels.shape[1], pixels.shape[0])
            info = extra_messages.camera_info(self.types, camera, stamp, frame)
            self.publish(self._publishers[info_topics[0]], info)
        else:
            if pixels.ndim == 2:
                pixels = answer.volume.label_map.palette()[pixels]
            message = extra_messages.colour_image(self.types, pixels, stamp, frame)
        self.publish(self._publishers[topic], message)

    def _publish_gaussians(self, answer: Answer) -> None:
        extras = gaussian_arrays(answer.prediction)
        stamp, frame = answer.prediction.stamp_ns, answer.prediction.grid.frame_id
        where = (answer.volume.label_map, stamp, frame)
        if self.is_heard(self._publishers["gaussians"]):
            message = extra_messages.semantic_gaussians(self.types, extras, *where)
            self.publish(self._publishers["gaussians"], message)
        if "flow" in extras and self.is_heard(self._publishers["flow"]):
            arrows = extra_messages.flow_arrows(self.types, extras, *where, limit=_MOST_ARROWS)
            self.publish(self._publishers["flow"], arrows)


def gaussian_arrays(prediction: Prediction) -> dict[str, npt.NDArray[Any]]:
    """Gaussians on the host, with class ids in place of logits.

    Raises:
        PredictionError: A value is not finite.
    """
    names = ("means", "scales", "quaternions", "opacities", "logits", "flow")
    found = {n: prediction.extras[n].float().cpu().numpy() for n in names if n in prediction.extras}
    if not all(np.isfinite(values).all() for values in found.values()):
        raise PredictionError("the Gaussians hold NaN or infinity; nothing is published")
    found["classes"] = (found.pop("logits").argmax(axis=1) + 1).astype(np.uint8)
    return found
