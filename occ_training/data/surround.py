"""Key frames of a car with cameras all around: images, calibration, poses, label layers, time.

What both surround-view systems are trained from. A key frame is an instant at which every camera
has an image and every named layer a message; its vehicle frame is the base at the stamp of the
`reference` topic, in nuScenes the scanner's, while each image has a stamp and a pose of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from occ_perception.bags.cameras import cameras_of_bag
from occ_perception.bags.index import MessageStore, open_index
from occ_perception.core.errors import BagError, CalibrationError
from occ_perception.geometry.transforms import Matrix
from occ_training.data.bag_scene import Bags, BagScene, SampleSpec
from occ_training.data.joins import NONE, nearest_with_reuse
from occ_training.data.samples import LabelImage, Layer, View

Values = npt.NDArray[np.generic]

_REFERENCE = "reference"


@dataclass(frozen=True)
class SurroundSpec:
    """What a key frame is to hold.

    Attributes:
        cameras: Names of the cameras, in the network's order; an image topic belongs to the camera
            whose name, in small letters, is a part of it.
        maps: Topics of label layers with one image per camera, by name; `{camera}` stands for the
            camera's name in small letters.
        layers: Topics of layers with one message per key frame, by name.
        reference: Topic whose stamps are those of the vehicle frames; empty = the first camera's.
        base_frame: The vehicle.
        world_frame: Frame in which it moves.
        period_s: Time between key frames.
        keeps: Keep everything that was decoded in memory; for small worlds.
    """

    cameras: tuple[str, ...]
    maps: Mapping[str, str] = field(default_factory=dict)
    layers: Mapping[str, str] = field(default_factory=dict)
    reference: str = "/lidar_top/points"
    base_frame: str = "base_link"
    world_frame: str = "map"
    period_s: float = 0.5
    keeps: bool = False


class SurroundDrive:
    """One drive; key frames are numbered 0, 1, 2 and so on.

    Args:
        bags: Recording and its label layers.
        spec: What a key frame holds.

    Attributes:
        name: Of the bag.
        dropped: Instants that are no key frames, by reason.

    Raises:
        OccError: A bag, topic or camera is missing or cannot be used.
    """

    def __init__(self, bags: Bags, spec: SurroundSpec) -> None:
        self._spec = spec
        labels = dict(spec.layers) | ({_REFERENCE: spec.reference} if spec.reference else {})
        for name, topic in spec.maps.items():
            labels |= {f"{name} {c}": topic.format(camera=c.lower()) for c in spec.cameras}
        images = image_topics(bags.recording, spec.cameras)
        source = SampleSpec(
            images, labels=labels, base_frame=spec.base_frame, world_frame=spec.world_frame
        )
        self._scene = BagScene(bags, source)
        self._rows = self._scene.anchors
        stamps = np.array([self._scene.stamp_ns(int(row)) for row in self._rows])
        self._stamps, self._pieces = stamps, self._scene.pieces[self._rows]
        self._kept: dict[tuple[str, int], object] = {}

    @property
    def name(self) -> str:
        """Name of the bag."""
        return self._scene.name

    @property
    def dropped(self) -> Mapping[str, int]:
        """Instants that are no key frames, by reason."""
        return self._scene.dropped

    def __len__(self) -> int:
        return len(self._rows)

    def stamp_ns(self, key: int) -> int:
        """Stamp of the vehicle frame."""
        row = int(self._rows[key])
        if not self._spec.reference:
            return self._scene.stamp_ns(row)
        return self._scene.label_stamp_ns(_REFERENCE, row)

    def T_world_ego(self, key: int) -> Matrix:  # noqa: N802  (the name of the literature)
        """Pose `[4, 4]` of the vehicle frame in the world."""
        return self._world_pose(self.stamp_ns(key))

    def T_world_cam(self, key: int) -> Matrix:  # noqa: N802
        """Poses `[n, 4, 4]` of the cameras in the world, each at the stamp of its own image."""
        rig = self._scene.rig(int(self._rows[key]))
        return np.stack([self._world_pose(stamp) @ camera.T_base_cam for camera, stamp in rig])

    def K(self, key: int) -> Matrix:  # noqa: N802
        """Intrinsics `[n, 3, 3]` of the images as they are, pixels."""
        return np.stack([camera.K for camera, _ in self._scene.rig(int(self._rows[key]))])

    def sizes(self, key: int) -> list[tuple[int, int]]:
        """Width and height of every camera's images, pixels."""
        return [(c.width, c.height) for c, _ in self._scene.rig(int(self._rows[key]))]

    def views(self, key: int) -> tuple[View, ...]:
        """Images, one per camera.

        Raises:
            OccError: An image is damaged.
        """
        return self._remembered("", key, lambda row: self._scene.views(row))

    def maps(self, name: str, key: int) -> tuple[Values, ...]:
        """A label layer `[H, W]` or `[H, W, C]` of every camera.

        Raises:
            BagError: A message is damaged, or no image.
        """
        names = [f"{name} {camera}" for camera in self._spec.cameras]
        return self._remembered(name, key, lambda row: tuple(self._map(n, row) for n in names))

    def layer(self, name: str, key: int) -> Layer:
        """A layer of the whole key frame, such as voxels.

        Raises:
            BagError: The message is damaged.
        """
        return self._scene.label(name, int(self._rows[key]))

    def neighbours(self, key: int, offsets: Sequence[int]) -> list[int | None]:
        """Key frames so many periods later (earlier if negative); None where there is none.

        They are of the same unbroken piece of the recording.
        """
        wanted = self._stamps[key] + np.asarray(offsets, np.int64) * self._period_ns
        found = nearest_with_reuse(self._stamps, wanted, self._period_ns / 2)
        same = (found != NONE) & (self._pieces[found] == self._pieces[key])
        return [int(k) if good else None for k, good in zip(found, same, strict=True)]

    def past(self, key: int, count: int) -> list[int]:
        """The key frames before, oldest first; before the first one the first one again."""
        latest, past = key, []
        for earlier in self.neighbours(key, range(-1, -count - 1, -1)):
            latest = latest if earlier is None else earlier
            past.append(latest)
        return past[::-1]

    def close(self) -> None:
        """Close the files."""
        self._scene.close()

    @property
    def _period_ns(self) -> int:
        return round(self._spec.period_s * 1e9)

    def _world_pose(self, stamp_ns: int) -> Matrix:
        pose = self._scene.T_world_base(stamp_ns)
        if pose is None:
            raise BagError(
                f"bag {self.name} has no poses of '{self._spec.base_frame}' in a fixed frame: name "
                "the frame, neighbours in time cannot be used without"
            )
        return pose

    def _map(self, name: str, row: int) -> Values:
        layer = self._scene.label(name, row)
        if not isinstance(layer, LabelImage):
            raise BagError(f"bag {self.name}: the label layer '{name}' is no image")
        return layer.values

    def _remembered(self, name: str, key: int, make):  # type: ignore[no-untyped-def]
        if (name, key) in self._kept:
            return self._kept[name, key]
        made = make(int(self._rows[key]))
        if self._spec.keeps:
            self._kept[name, key] = made
        return made


class SurroundDrives:
    """Several drives as one list of key frames, with a source of randomness for each of them.

    Args:
        bags: Drives with their label layers.
        spec: What a key frame holds.
        seed: Of the randomness.

    Attributes:
        scenes: The drives.

    Raises:
        OccError: A drive cannot be used.
    """

    def __init__(self, bags: Sequence[Bags | Path], spec: SurroundSpec, seed: int = 0) -> None:
        import torch

        drives = [each if isinstance(each, Bags) else Bags(Path(each)) for each in bags]
        self.scenes = [SurroundDrive(drive, spec) for drive in drives]
        self._ends = np.cumsum([len(scene) for scene in self.scenes])
        self._seed = seed
        # Shared memory: workers that stay for several epochs must hear of the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        if not len(self):
            why = {scene.name: scene.dropped for scene in self.scenes}
            raise BagError(f"no whole key frame in {len(drives)} bags; dropped: {why}")

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def place_of(self, index: int) -> tuple[SurroundDrive, int]:
        """Drive and key frame of a sample.

        Raises:
            IndexError: There is no such sample.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        scene = self.scenes[number]
        return scene, index - int(self._ends[number] - len(scene))

    def set_epoch(self, epoch: int) -> None:
        """Make randomness start anew, in workers that are running, too."""
        self._epoch.fill_(epoch)

    def random(self, index: int) -> np.random.RandomState:
        """Randomness of a sample in this epoch: the same whatever worker asks, in any order."""
        words = np.random.SeedSequence((self._seed, int(self._epoch), index)).generate_state(4)
        return np.random.RandomState(words)

    def close(self) -> None:
        """Close all files."""
        for scene in self.scenes:
            scene.close()


def image_topics(recording: Path, cameras: Sequence[str]) -> tuple[str, ...]:
    """Image topics of cameras, found by their names.

    Args:
        recording: Bag.
        cameras: Names; capitals do not matter.

    Raises:
        CalibrationError: A camera has no image topic with a calibration, or several.
    """
    index = open_index(recording)
    store = MessageStore(index.files)
    found = [n for n, camera in cameras_of_bag(index, store).items() if camera.is_calibrated]
    store.close()
    topics = []
    for camera in cameras:
        fitting = [name for name in found if camera.lower() in name.lower().split("/")]
        if len(fitting) != 1:
            raise CalibrationError(
                f"bag {recording} has {len(fitting)} calibrated image topics of {camera}, one is "
                f"needed; its cameras are on {', '.join(found) or 'no topic'}"
            )
        topics.append(fitting[0])
    return tuple(topics)
