"""What the teachers of `occ label` have in common: recordings, images, how answers are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from occ_perception.core.errors import ConfigError
from occ_perception.systems.base import Precision

if TYPE_CHECKING:
    from occ_training.labels.image_labeler import ImageTeacher, LayerForm
    from occ_training.labels.worker import Labeler


@dataclass(frozen=True)
class Job:
    """What every teacher is given.

    Attributes:
        bag: Recording, or a folder of recordings.
        out: Folder of the label layers; each layer is named like its recording.
        shard: This worker's share, i/n with i from 0.
        dry_run: Only say what the layers will take on the disk.
    """

    bag: Annotated[Positional[Path], arg(metavar="BAG")]
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    shard: str = "0/1"
    dry_run: bool = False

    def labelers(self) -> Sequence[Labeler]:
        """The teacher over every recording."""
        raise NotImplementedError


@dataclass(frozen=True)
class Images(Job):
    """A teacher of single images.

    Attributes:
        cameras: Image topics; empty = every camera with rectified images.
        beside: Only images at the instants of this topic, e.g. /ground_truth/voxels for key frames;
            empty = all.
    """

    cameras: tuple[str, ...] = ()
    beside: str = ""

    def labelers(self) -> Sequence[Labeler]:
        """One teacher over every recording."""
        from occ_training.labels.bag_images import BagImages
        from occ_training.labels.image_labeler import ImageLabeler

        form = self.form()
        images = [BagImages(b, self.cameras, self.beside) for b in recordings(self.bag)]
        teacher = self.teacher()
        return [ImageLabeler(each, teacher, form) for each in images]

    def form(self) -> LayerForm:
        """How answers are kept."""
        from occ_training.labels.image_labeler import LayerForm

        return LayerForm()

    def teacher(self) -> ImageTeacher:
        """Whom to ask."""
        raise NotImplementedError


@dataclass(frozen=True)
class Networks(Images):
    """A teacher that is a network.

    Attributes:
        device: Where the teacher runs: cpu, or cuda:0 and the like.
        precision: Of the teacher's numbers.
    """

    device: str = "cpu"
    precision: Precision = "fp32"


@dataclass(frozen=True)
class Scaled(Images):
    """A teacher whose answers may be smaller than the images.

    Attributes:
        scale: Size of depth and class layers against the images; GaussianFlowOcc trains on 0.44.
    """

    scale: float = 1.0

    def form(self) -> LayerForm:
        """How answers are kept."""
        from occ_training.labels.image_labeler import LayerForm

        return LayerForm(self.scale)


@dataclass(frozen=True)
class WithDepth(Scaled):
    """A teacher of depth.

    Attributes:
        depth_form: fp16 (metres) or png16 (millimetres up to 65.5 m, smaller).
    """

    depth_form: Literal["fp16", "png16"] = "fp16"

    def form(self) -> LayerForm:
        """How answers are kept."""
        from occ_training.labels.image_labeler import LayerForm

        return LayerForm(self.scale, self.depth_form)


def recordings(bag: Path) -> list[Path]:
    """The recording, or those in a folder.

    Raises:
        ConfigError: There is none.
    """
    inside = sorted(p.parent for p in bag.glob("*/metadata.yaml")) if bag.is_dir() else []
    if (bag / "metadata.yaml").is_file() or bag.is_file():
        return [bag]
    if not inside:
        raise ConfigError(f"{bag} is neither a bag nor a folder of bags")
    return inside
