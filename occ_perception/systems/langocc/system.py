"""LangOcc behind the common contract: surround views and prompts in, voxels out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from occ_perception.blocks.surround_input import shrunk
from occ_perception.core.errors import CalibrationError, ConfigError, PredictionError
from occ_perception.core.types import CameraFrame, Prediction, PreparedView
from occ_perception.systems.base import Context, Needs, Precision, autocast
from occ_perception.systems.langocc.config import LangOccConfig
from occ_perception.systems.langocc.heads import FoldedPrompts, fold_prompts, similarity
from occ_perception.systems.langocc.history import FrameGeometry, LangOccHistory
from occ_perception.systems.langocc.model import LangOcc
from occ_perception.systems.surround_system import SurroundSystem
from occ_perception.text.embeddings import TextEmbeddings
from occ_perception.text.vocabulary import Vocabulary


class LangOccSystem(SurroundSystem):
    """Runs the network on one frame set at a time; its classes are text and may change.

    Args:
        config: Sizes of the network and its grid.
        device: Where the network runs.
        precision: Of the convolutions; geometry, matching and the lift stay float32.
    """

    offers = ()

    def __init__(
        self,
        config: LangOccConfig | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
    ) -> None:
        self.config = config or LangOccConfig()
        cameras = self.config.cameras
        needs = Needs(cameras=cameras, history=2, ego_motion=True, prompts=True)
        super().__init__(self.config, needs, device, precision)
        self.network = LangOcc(self.config).to(self.device).eval()
        self._history = LangOccHistory(self.network)
        self._prompts: FoldedPrompts | None = None
        self._scene: Tensor | None = None

    def set_prompts(self, vocabulary: Vocabulary, embeddings: TextEmbeddings) -> None:
        """Look for these words from now on; call it again after weights were loaded.

        Args:
            vocabulary: Prompts and the class ids that they stand for.
            embeddings: Holds a vector for each of them.

        Raises:
            ConfigError: A prompt has no vector, or the vectors are of another CLIP.
        """
        if embeddings.clip != self.config.clip:
            raise ConfigError(
                f"text embeddings of {embeddings.clip}, but this model was trained with "
                f"{self.config.clip}; encode the prompts with that one"
            )
        vectors = self.in_our_space(embeddings.find(vocabulary.prompts))
        self._prompts = fold_prompts(self.network.language_head, vectors, vocabulary.ids())

    def preprocess(self, frame: CameraFrame) -> PreparedView:
        """Resize and normalise one image.

        Raises:
            CalibrationError: The image is not rectified.
        """
        return super().preprocess(shrunk(frame, self.config.source_width))

    def infer(self, views: Sequence[PreparedView], context: Context) -> Prediction:
        """Predict the voxels around the vehicle.

        Args:
            views: One per camera; other rigs than the trained one work, how well is not known.
            context: Stamp and vehicle pose; without a pose every frame stands alone.

        Raises:
            ConfigError: No prompts were set.
            CalibrationError: There are no views, or their calibration cannot be used.
            PredictionError: The network answered with NaN.
        """
        if self._prompts is None:
            raise ConfigError("LangOcc has no prompts to look for; set some first")
        if not views:
            raise CalibrationError("LangOcc was given no camera view")
        self._begin(context)
        images = torch.stack([view.image for view in views])[None]
        with torch.inference_mode(), autocast(self.device, self.precision):
            self._scene = self._history.step(images, _geometry(views, context))
            answer = self.network.predict(self._scene, self._prompts)
        density = answer.density[0]
        if not bool(density.isfinite().all()):
            self.reset()
            raise PredictionError(
                "LangOcc answered with NaN; check the weights file, or use precision fp32"
            )
        free = density < self.config.free_below
        return Prediction(
            labels=answer.labels[0],
            grid=self.grid,
            stamp_ns=context.stamp_ns,
            # Between coarser voxels a density of 1 may be interpolated to a little more.
            confidence=torch.where(free, 1 - density, density).clamp(0, 1),
            known=self._known(views),
            extras={"density": density},
        )

    def query(self, vectors: Float[Tensor, "n c"]) -> Float[Tensor, "n x y z"]:
        """Cosine of every voxel of the last frame with text embeddings, on the device.

        Args:
            vectors: Unit vectors of CLIP's space.

        Raises:
            ConfigError: There is no frame yet, or the vectors are of another CLIP.
        """
        if self._scene is None:
            raise ConfigError("nothing to query: LangOcc has not seen a frame yet")
        ours = self.in_our_space(vectors)
        head = self.network.language_head
        with torch.inference_mode(), autocast(self.device, self.precision):
            hidden = head.hidden(self._scene.movedim(1, -1))
            return self.network.at_labels(similarity(head, hidden, ours).movedim(-1, 1))[0]

    def vectors(self) -> Float[Tensor, "x y z e"]:
        """Unit vectors of all voxels of the last frame, on the device; Full's take 1.3 GB.

        Raises:
            ConfigError: There is no frame yet.
        """
        if self._scene is None:
            raise ConfigError("no vectors: LangOcc has not seen a frame yet")
        with torch.inference_mode(), autocast(self.device, self.precision):
            found = self.network.fields(self._scene).vectors
            return F.normalize(self.network.at_labels(found)[0].movedim(0, -1), dim=-1)

    def reset(self) -> None:
        """Forget earlier key frames; prompts stay."""
        super().reset()
        self._scene = None

    def in_our_space(self, vectors: Float[Tensor, "n c"]) -> Float[Tensor, "n e"]:
        """Text embeddings as unit vectors of the space that the voxels' vectors are of.

        Raises:
            ConfigError: They are of another CLIP.
        """
        if vectors.shape[1] != self.config.clip_channels:
            raise ConfigError(
                f"text embeddings have {vectors.shape[1]} values, this model was trained with a "
                f"CLIP of {self.config.clip_channels}; encode the prompts with that one"
            )
        vectors = F.normalize(vectors.to(self.device).float(), dim=-1)
        with torch.no_grad():
            return vectors if self.network.reducer is None else self.network.reducer(vectors)


def _geometry(views: Sequence[PreparedView], context: Context) -> FrameGeometry:
    """Cameras of one frame set; all images are taken at the anchor's stamp."""
    pose = np.eye(4) if context.T_world_base is None else context.T_world_base
    parts = (
        [view.camera.T_base_cam for view in views],
        [pose] * len(views),
        [view.camera.K for view in views],
        [view.image_transform for view in views],
    )
    return FrameGeometry(*(torch.from_numpy(np.stack(part))[None] for part in parts))
