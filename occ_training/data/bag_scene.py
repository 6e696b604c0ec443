"""One drive in bags: which images belong together, and everything of an instant by its number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from occ_perception.bags.cameras import BagCamera, cameras_of_bag
from occ_perception.bags.images import decode_rgb
from occ_perception.bags.index import MessageStore, TopicIndex, open_index
from occ_perception.bags.messages import MessageTypes
from occ_perception.bags.transforms import TransformTable
from occ_perception.core.camera import Camera
from occ_perception.core.errors import BagError, CalibrationError, ImageError
from occ_perception.core.types import CameraFrame
from occ_perception.geometry.transforms import Matrix
from occ_training.data.joins import NONE, Rows, check_ascending, nearest_rows, nearest_with_reuse
from occ_training.data.layers import decode_layer
from occ_training.data.rectify import FisheyeView, Rectifier, rectifier
from occ_training.data.samples import Layer, View

BREAK_PERIODS = 1.5  # a longer gap between two anchors is a break in the recording


@dataclass(frozen=True)
class SampleSpec:
    """What a sample is to hold.

    Attributes:
        cameras: Image topics, the anchor first; empty = every calibrated camera of the bag.
        offsets_s: Neighbours in time, seconds from the anchor.
        labels: Topics of label layers by the name that they get; only instants that have all of
            them make samples.
        base_frame: Frame in which cameras, grids and sensors are placed.
        world_frame: Frame in which the base moves; empty = poses are not needed.
        max_skew_s: Largest difference between the stamps of one instant.
        max_pose_gap_s: Largest time between two poses that is interpolated over.
        fisheye: What to cut out of fisheye images.
    """

    cameras: tuple[str, ...] = ()
    offsets_s: tuple[float, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    base_frame: str = "base_link"
    world_frame: str = ""
    max_skew_s: float = 0.05
    max_pose_gap_s: float = 0.2
    fisheye: FisheyeView | None = None


@dataclass(frozen=True)
class Bags:
    """A drive and what was made of it.

    Attributes:
        recording: Bag with images, calibration and transforms.
        layers: Further bags with label layers of the same stamps.
    """

    recording: Path
    layers: tuple[Path, ...] = ()


@dataclass(frozen=True, eq=False)
class _Layer:
    """A topic and the bag it is in."""

    topic: TopicIndex
    store: MessageStore


class BagScene:
    """One drive, open for reading.

    Attributes:
        name: Name of the bag's folder.
        anchors: Rows of the anchor's images that make whole samples.
        dropped: Images of the anchor that do not, by reason.
    """

    def __init__(self, bags: Bags, spec: SampleSpec) -> None:
        """Open the bags and find out which instants are whole.

        Raises:
            BagError: A topic or message is missing or damaged.
            CalibrationError: A camera cannot be used.
            TransformError: A camera has no place on the base.
        """
        self.name = bags.recording.name
        self.dropped: dict[str, int] = {}
        self._spec = spec
        self._types = MessageTypes()
        self._index = open_index(bags.recording)
        self._store = MessageStore(self._index.files)
        self._side = [(index := open_index(p), MessageStore(index.files)) for p in bags.layers]
        self._transforms = TransformTable.of_bag(self._index, self._store)
        self._cameras = self._find_cameras()
        self._topics = [self._index.topics[name] for name in self._cameras]
        self._layers = {name: self._find_layer(topic) for name, topic in spec.labels.items()}
        for topic in self._topics:
            check_ascending(topic, self._index.path)
        self._rows = np.stack([self._joined(topic) for topic in self._topics])
        self._label_rows = {n: self._joined(k.topic) for n, k in self._layers.items()}
        whole = self._whole()
        self._neighbours = self._find_neighbours()
        self.anchors = self._with_neighbours(whole)

    @property
    def cameras(self) -> Mapping[str, BagCamera]:
        """Calibrations as the bag has them, by image topic, the anchor first."""
        return self._cameras

    @property
    def transforms(self) -> TransformTable:
        """All transforms of the drive."""
        return self._transforms

    def __getstate__(self) -> dict[str, Any]:
        """What a worker gets; message types hold generated code, which cannot be sent."""
        return {key: value for key, value in self.__dict__.items() if key != "_types"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin in a worker."""
        self.__dict__.update(state)
        self._types = MessageTypes()

    def __len__(self) -> int:
        return len(self.anchors)

    def stamp_ns(self, row: int) -> int:
        """Stamp of an anchor image."""
        return int(self._anchor_stamps[row])

    def views(self, row: int) -> tuple[View, ...]:
        """The images of an instant.

        Raises:
            ImageError: An image is damaged or has another size than its calibration.
        """
        pairs = zip(self._topics, self._rows[:, row].tolist(), strict=True)
        return tuple(self._view(topic, image_row) for topic, image_row in pairs)

    def neighbours(self, row: int) -> dict[float, tuple[View, ...]]:
        """The images at the other times, by offset."""
        return {offset: self.views(int(rows[row])) for offset, rows in self._neighbours.items()}

    def labels(self, row: int) -> dict[str, Layer]:
        """The layers of an instant, by name.

        Raises:
            BagError: A message is damaged or no kind of label.
        """
        return {name: self.label(name, row) for name in self._layers}

    def label(self, name: str, row: int) -> Layer:
        """One layer of an instant.

        Raises:
            BagError: A message is damaged or no kind of label.
        """
        return self._label(self._layers[name], int(self._label_rows[name][row]))

    def messages(self, name: str) -> Iterator[Layer]:
        """All messages of a layer that lie between two poses, also those without an image.

        Raises:
            BagError: A message is damaged or no kind of label.
        """
        layer = self._layers[name]
        covered = self._covered(layer.topic.stamps_ns) if self._spec.world_frame else slice(None)
        for row in np.arange(len(layer.topic))[covered].tolist():
            yield self._label(layer, row)

    def label_stamp_ns(self, name: str, row: int) -> int:
        """Stamp of a layer of an instant; nothing is read."""
        return int(self._layers[name].topic.stamps_ns[self._label_rows[name][row]])

    def rig(self, row: int) -> tuple[tuple[Camera, int], ...]:
        """Calibration and stamp of every camera's image of an instant; nothing is decoded."""
        pairs = zip(self._topics, self._rows[:, row].tolist(), strict=True)
        return tuple((self._rectifiers[t.name].camera, int(t.stamps_ns[i])) for t, i in pairs)

    def rectifier(self, camera: str) -> Rectifier:
        """How images on a topic become pinhole images."""
        return self._rectifiers[camera]

    def T_world_base(self, stamp_ns: int) -> Matrix | None:  # noqa: N802
        """Pose of the base at a stamp; None without a world frame."""
        return self._world_pose(stamp_ns)

    def close(self) -> None:
        """Close the files."""
        for store in (self._store, *(store for _, store in self._side)):
            store.close()

    @cached_property
    def _anchor_stamps(self) -> Rows:
        return self._topics[0].stamps_ns

    @cached_property
    def _period_ns(self) -> float:
        gaps = np.diff(self._anchor_stamps)
        return float(np.median(gaps)) if len(gaps) else 0.0

    @cached_property
    def pieces(self) -> Rows:
        """Number of the unbroken piece of the recording that each image of the anchor is in."""
        breaks = np.diff(self._anchor_stamps) > BREAK_PERIODS * self._period_ns
        return np.concatenate([[0], np.cumsum(breaks)])

    @cached_property
    def _rectifiers(self) -> dict[str, Rectifier]:
        return {name: self._make_rectifier(camera) for name, camera in self._cameras.items()}

    def _find_cameras(self) -> dict[str, BagCamera]:
        found = cameras_of_bag(self._index, self._store)
        names = self._spec.cameras or tuple(n for n, c in found.items() if c.is_calibrated)
        missing = [name for name in names if name not in found]
        if missing or not names:
            raise CalibrationError(
                f"bag {self._index.path} has no camera {', '.join(missing) or 'at all'} with a "
                f"camera_info beside it; it has {', '.join(found) or 'none'}"
            )
        return {name: found[name] for name in names}

    def _find_layer(self, topic: str) -> _Layer:
        for index, store in ((self._index, self._store), *self._side):
            if topic in index.topics:
                return _Layer(index.topics[topic], store)
        raise BagError(
            f"neither bag {self._index.path} nor its {len(self._side)} side bags have the label "
            f"layer {topic}: name its bag, or make it first"
        )

    def _joined(self, topic: TopicIndex) -> Rows:
        """Row of the nearest message for every anchor, none used twice."""
        return nearest_rows(
            self._anchor_stamps, topic.stamps_ns, round(self._spec.max_skew_s * 1e9)
        )

    def _whole(self) -> npt.NDArray[np.bool_]:
        """Anchors with all cameras, labels and poses; counts the others."""
        whole = np.ones(len(self._anchor_stamps), np.bool_)
        for topic, rows in zip(self._topics, self._rows, strict=True):
            whole = self._drop(whole, rows != NONE, f"no image on {topic.name}")
        for name, rows in self._label_rows.items():
            whole = self._drop(whole, rows != NONE, f"no label '{name}'")
        if self._spec.world_frame:
            for topic, rows in zip(self._topics, self._rows, strict=True):
                covered = self._covered(topic.stamps_ns[rows])
                whole = self._drop(whole, covered, "no pose around the image")
        return whole

    def _drop(
        self, whole: npt.NDArray[np.bool_], good: npt.NDArray[np.bool_], reason: str
    ) -> npt.NDArray[np.bool_]:
        lost = int((whole & ~good).sum())
        if lost:
            self.dropped[reason] = self.dropped.get(reason, 0) + lost
        return whole & good

    def _covered(self, stamps_ns: Rows) -> npt.NDArray[np.bool_]:
        spec = self._spec
        gap_ns = round(spec.max_pose_gap_s * 1e9)
        return self._transforms.covers(spec.world_frame, spec.base_frame, stamps_ns, gap_ns)

    def _find_neighbours(self) -> dict[float, Rows]:
        """For every offset the row of the anchor at that time, in the same unbroken piece.

        A neighbour needs images and poses; labels are those of the sample itself.
        """
        stamps = self._anchor_stamps
        usable = (self._rows != NONE).all(axis=0)
        if self._spec.world_frame:
            for topic, rows in zip(self._topics, self._rows, strict=True):
                usable &= self._covered(topic.stamps_ns[rows])
        piece, neighbours = self.pieces, {}
        for offset in self._spec.offsets_s:
            rows = nearest_with_reuse(stamps, stamps + round(offset * 1e9), self._period_ns / 2)
            good = (rows != NONE) & usable[rows] & (piece[rows] == piece)
            neighbours[offset] = np.where(good, rows, NONE)
        return neighbours

    def _with_neighbours(self, whole: npt.NDArray[np.bool_]) -> Rows:
        for offset, rows in self._neighbours.items():
            whole = self._drop(whole, rows != NONE, f"no neighbour at {offset:+g} s")
        return np.flatnonzero(whole)

    def _make_rectifier(self, camera: BagCamera) -> Rectifier:
        T_base_cam = self._transforms.fixed(self._spec.base_frame, camera.frame_id)
        return rectifier(camera, T_base_cam, self._spec.fisheye, lambda: self._mei(camera.image))

    def _mei(self, image: str) -> str | None:
        """The exact fisheye calibration beside a fisheye's images."""
        folder = image.removesuffix("/compressed").rsplit("/", 1)[0]
        topic = self._index.topics.get(f"{folder}/mei_calibration")
        if topic is None:
            return None
        return self._types.decode(topic.msgtype, self._store.read(topic.place(0))).data

    def _view(self, topic: TopicIndex, row: int) -> View:
        stamp_ns = int(topic.stamps_ns[row])
        source, rectify = self._cameras[topic.name], self._rectifiers[topic.name]
        image = decode_rgb(self._message(topic, self._store, row))
        if image.shape[:2] != (source.height, source.width):
            raise ImageError(
                f"bag {self._index.path}: the image on {topic.name} at stamp {stamp_ns} is "
                f"{image.shape[1]}x{image.shape[0]}, its calibration says "
                f"{source.width}x{source.height}"
            )
        frame = CameraFrame(rectify(image), rectify.camera, stamp_ns)
        return View(frame, self._world_pose(stamp_ns))

    def _message(self, topic: TopicIndex, store: MessageStore, row: int) -> Any:
        return self._types.decode(topic.msgtype, store.read(topic.place(row)))

    def _world_pose(self, stamp_ns: int) -> Matrix | None:
        spec = self._spec
        if not spec.world_frame:
            return None
        gap_ns = round(spec.max_pose_gap_s * 1e9)
        return self._transforms.at(spec.world_frame, spec.base_frame, stamp_ns, gap_ns)

    def _label(self, layer: _Layer, row: int) -> Layer:
        stamp_ns = int(layer.topic.stamps_ns[row])

        def poses(frame_id: str) -> tuple[Matrix, Matrix | None]:
            T_base_frame = self._transforms.fixed(self._spec.base_frame, frame_id)
            return T_base_frame, self._world_pose(stamp_ns)

        message = self._message(layer.topic, layer.store, row)
        return decode_layer(layer.topic.msgtype, message, stamp_ns, poses)


def open_scenes(bags: Sequence[Bags], spec: SampleSpec) -> list[BagScene]:
    """Open several drives.

    Raises:
        BagError: Two have the same name, or one cannot be used.
    """
    scenes = [BagScene(each, spec) for each in bags]
    names = [scene.name for scene in scenes]
    if len(set(names)) != len(names):
        raise BagError(f"two of the bags have the same name: {', '.join(sorted(names))}")
    return scenes
