"""Who is asked by `occ label`, and what each teacher is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from occ_perception.commands.label_base import Job, Networks, Scaled, WithDepth, recordings
from occ_perception.core.errors import ConfigError
from occ_perception.systems.base import Precision
from occ_training.recipes.vlscene_data import VLSceneTopics

if TYPE_CHECKING:
    from occ_training.labels.image_labeler import ImageTeacher
    from occ_training.labels.teacher import Teacher
    from occ_training.labels.worker import Labeler

KINDS = Literal["depth", "masks", "classes", "language"]


@dataclass(frozen=True)
class Pixels(Job):
    """VLScene's language teacher: LSeg's features and class logits of the left images.

    Attributes:
        weights: LSeg's converted weights (`occ weights convert lseg demo_e200.ckpt ...`).
        toy: Ask the procedural world's stand-in instead.
        misnames: The stand-in also renames 7 % of the segments and misses 5 %.
        preset: Preset of the student: answers are for its image size.
        device: Where the teacher runs: cpu, or cuda:0 and the like.
        precision: Of the teacher's numbers; published is fp16.
        topics: Where things are in the bag; only frames with all layers named here are labelled.
    """

    weights: Path | None = None
    toy: bool = False
    misnames: bool = False
    preset: Literal["published", "nano"] = "published"
    device: str = "cpu"
    precision: Precision = "fp32"
    topics: VLSceneTopics = field(default_factory=lambda: VLSceneTopics(points=""))

    def labelers(self) -> Sequence[Labeler]:
        """LSeg, or its stand-in, over every recording."""
        from occ_perception.systems.catalog import find_system
        from occ_training.labels.pixel_labels import PixelLabeler

        config = find_system("vlscene").presets[self.preset]()
        teacher = self._teacher(published_slips=config.published_slips)
        layer = "/labels/toy" if self.toy else "/labels/lseg"
        bags = recordings(self.bag)
        return [PixelLabeler(bag, teacher, config, self.topics, layer) for bag in bags]

    def _teacher(self, *, published_slips: bool) -> Teacher:
        if self.toy:
            from occ_training.labels.toy import ToyTeacher

            return ToyTeacher(misnames=self.misnames)
        if self.weights is None:
            raise ConfigError(
                "lseg needs --weights FILE (occ weights convert lseg demo_e200.ckpt ...), or --toy"
            )
        from occ_training.labels.lseg import LSegConfig, load_lseg

        lseg = LSegConfig(published_slips=published_slips)
        return load_lseg(self.weights, lseg, self.device, self.precision)


@dataclass(frozen=True)
class Depth(Networks, WithDepth):
    """Metric depth per pixel, by a model of transformers or by Depth Anything V2 for ViPOcc.

    Attributes:
        download: Ask the model hub for what is not on this machine.
        model: Folder (or name) of a metric depth model of transformers.
        canonical: Resize to one focal length as Metric3D does, not as the model's processor does.
        prior: Instead of a model: converted Depth Anything V2, asked at the size of ViPOcc's images
            (`occ weights convert depth_prior depth_anything_v2_metric_vkitti_vitl.pth ...`).
    """

    download: bool = False
    model: str = ""
    canonical: bool = False
    prior: Path | None = None

    def teacher(self) -> ImageTeacher:
        """The network.

        Raises:
            ConfigError: No model, or two.
        """
        from occ_training.labels.depth import Canonical, MetricDepth, PriorDepth
        from occ_training.labels.pretrained import load_pretrained

        if bool(self.model) == bool(self.prior):
            raise ConfigError("name one teacher: --model FOLDER, or --prior FILE for ViPOcc")
        if self.prior is not None:
            from occ_perception.blocks.depth_prior import DepthPrior, DepthPriorConfig
            from occ_perception.weights.load import load_weights

            network = DepthPrior(DepthPriorConfig())
            sha256 = load_weights(network, self.prior, "depth_prior").sha256
            return PriorDepth(network, sha256, self.device, self.precision)
        kinds = ("AutoModelForDepthEstimation", "AutoImageProcessor")
        kinds = kinds[:1] if self.canonical else kinds
        parts = [load_pretrained(kind, self.model, download=self.download) for kind in kinds]
        canonical = Canonical() if self.canonical else None
        return MetricDepth(parts[0], parts[-1], self.device, self.precision, canonical)


@dataclass(frozen=True)
class Masks(Networks, Scaled):
    """A class of Occ3D per pixel: words to boxes by Grounding DINO, boxes to masks by SAM.

    Attributes:
        download: Ask the model hub for what is not on this machine.
        detector: Folder (or name) of Grounding DINO.
        segmenter: Folder (or name) of SAM.
        vocabulary: Name of the shipped vocabulary of words to look for.
        box_threshold: Least score of a box, 0..1.
        text_threshold: Least score, 0..1, of a token that belongs to a box's phrase.
        words_at_once: Words that are asked about together; fewer need less memory.
    """

    download: bool = False
    detector: str = ""
    segmenter: str = ""
    vocabulary: str = "occ3d_grounding"
    box_threshold: float = 0.20
    text_threshold: float = 0.20
    words_at_once: int = 6

    def teacher(self) -> ImageTeacher:
        """Both networks.

        Raises:
            ConfigError: One of them is not named.
        """
        from occ_training.labels.masks import GroundedSam, MaskOptions
        from occ_training.labels.pretrained import load_pretrained

        if not self.detector or not self.segmenter:
            raise ConfigError(
                "masks need --detector FOLDER (Grounding DINO) and --segmenter FOLDER (SAM)"
            )
        wanted = (
            ("GroundingDinoForObjectDetection", self.detector),
            ("GroundingDinoProcessor", self.detector),
            ("SamModel", self.segmenter),
            ("SamProcessor", self.segmenter),
        )
        parts = [load_pretrained(k, name, download=self.download) for k, name in wanted]
        options = MaskOptions(
            self.vocabulary, self.box_threshold, self.text_threshold, self.words_at_once
        )
        return GroundedSam(*parts, options, self.device, self.precision)


@dataclass(frozen=True)
class MaskClip(Networks):
    """LangOcc's targets: text-image vectors of the pixels that LiDAR points fall on.

    Attributes:
        weights: Converted MaskCLIP+ student, or CLIP itself (`occ weights convert maskclip_plus`,
            or `... maskclip`).
        reducer: LangOcc Reduced: weights whose reducer keeps a quarter of the channels.
        points: Topic of the LiDAR; empty = the only one.
        world_frame: Frame in which the vehicle moves.
    """

    weights: Path | None = None
    reducer: Path | None = None
    points: str = ""
    world_frame: str = "odom"

    def teacher(self) -> ImageTeacher:
        """The network.

        Raises:
            ConfigError: No weights were named.
        """
        from occ_training.labels.lidar_rays import RaySource
        from occ_training.labels.maskclip import LanguageRays, load_reading, load_reducer

        if self.weights is None:
            raise ConfigError(
                "maskclip needs --weights FILE (occ weights convert maskclip_plus ...)"
            )
        reading = load_reading(self.weights, self.device)
        reducer = None if self.reducer is None else load_reducer(self.reducer)
        source = RaySource(self.points, world_frame=self.world_frame)
        return LanguageRays(reading, source, reducer, self.device, self.precision)


@dataclass(frozen=True)
class Toy(WithDepth):
    """Stand-ins that spoil the truth of the procedural world; same formats as the real teachers.

    Attributes:
        layers: Which: depth, masks (Occ3D), classes (Cityscapes), language (LangOcc's rays).
        channels: Of the text-image vectors, for language: 512 as CLIP, 128 for the nano preset.
        points: Topic of the LiDAR, for language; empty = the only one.
        world_frame: Frame in which the vehicle moves, for language.
    """

    layers: tuple[KINDS, ...] = ("depth", "masks")
    channels: int = 512
    points: str = ""
    world_frame: str = "odom"

    def teacher(self) -> ImageTeacher:
        """The stand-ins."""
        from occ_training.labels.lidar_rays import RaySource
        from occ_training.labels.toy_layers import ToyLayers

        source = RaySource(self.points, world_frame=self.world_frame)
        return ToyLayers(self.layers, self.channels, source)


TEACHERS = {"lseg": Pixels, "depth": Depth, "masks": Masks, "maskclip": MaskClip, "toy": Toy}
