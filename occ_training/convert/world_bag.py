"""The procedural world as a bag without a detour: same topics and frames as converted data sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from occ_perception.core.errors import ConfigError
from occ_perception.core.labels import load_label_map
from occ_perception.geometry.transforms import inverse
from occ_training.convert import messages, world_messages
from occ_training.convert import world_values as values
from occ_training.convert.content import (
    BASE,
    MAP,
    ODOM,
    T_BASE_VELODYNE,
    TRUE_LABEL_MAP,
    VELODYNE,
    Content,
    Link,
    Options,
    add_pose,
    stereo_projections,
)
from occ_training.convert.fisheye_fit import fit_equidistant
from occ_training.convert.messages import TEXT, CameraModel, Outgoing
from occ_training.convert.nuscenes import OCC3D_LABELS
from occ_training.convert.report import Report
from occ_training.convert.semantickitti_voxels import SEMANTICKITTI_SCHEME, SSCBENCH_SCHEME
from occ_training.convert.world_trees import mei_text
from occ_training.world.config import BUSY_RANGES, TRAIN_RANGES, WORLD_VERSION, WorldConfig
from occ_training.world.frames import Frame, Parts, make_frames
from occ_training.world.lenses import Mei
from occ_training.world.manifest import primitives_json
from occ_training.world.rigs import RigCamera
from occ_training.world.scene import Scene, build_scene

# Camera of a rig -> its image topic and optical frame.
KITTI = {
    "image_0": ("/camera/left/image_rect", "camera_left_optical"),
    "image_1": ("/camera/right/image_rect", "camera_right_optical"),
    "image_2": ("/camera_color/left/image_rect", "camera_color_left_optical"),
    "image_3": ("/camera_color/right/image_rect", "camera_color_right_optical"),
}
KITTI360 = {
    "image_00": ("/perspective/left/image_rect", "perspective_left_optical"),
    "image_01": ("/perspective/right/image_rect", "perspective_right_optical"),
    "image_02": ("/fisheye/left/image_raw", "fisheye_left_optical"),
    "image_03": ("/fisheye/right/image_raw", "fisheye_right_optical"),
}
PAIRS = (("image_0", "image_1"), ("image_2", "image_3"), ("image_00", "image_01"))
WORLD_TEXT = "/ground_truth/world"  # which world it is: version, seed, rig
PRIMITIVES = "/ground_truth/world/primitives"  # JSON of all solids: the oracle


@dataclass(frozen=True)
class WorldScene:
    """A scene of the world, which `runner.convert` writes like any data set's.

    Attributes:
        config: Rig, preset, seed and so on.
        cameras: Names of the rig's cameras that are wanted; None for all. One stereo pair of KITTI
            is ("image_2", "image_3").
        jobs: Processes that compute frames.
        every: Compute only frames 0, n, 2n and so on: 5 leaves those of KITTI that have voxels.
        sweeps_every: Of frames 0, n, 2n and so on between those at least the sweep and the pose
            (KITTI, KITTI-360); 0 = nothing.
        frames: Frames that were computed already, instead of computing them.
        split: Split it belongs to.
    """

    config: WorldConfig
    cameras: tuple[str, ...] | None = None
    jobs: int = 1
    every: int = 1
    sweeps_every: int = 0
    frames: tuple[Frame, ...] | None = None
    split: str = ""

    @property
    def name(self) -> str:
        """Name of its bag."""
        kind = {TRAIN_RANGES: "", BUSY_RANGES: "_busy"}.get(self.config.ranges, "_held")
        kind += "_cube" if self.config.marked_cube else ""
        return f"world_{self.config.rig}_{self.config.preset}_{self.config.seed}{kind}"

    def __repr__(self) -> str:
        """What decides about the content, for the fingerprint of a conversion."""
        sweeps = f", sweeps {self.sweeps_every}" if self.sweeps_every else ""
        return f"WorldScene({WORLD_VERSION}, {self.config!r}, {self.cameras}, {self.every}{sweeps})"

    def read(self, options: Options, report: Report) -> Content:
        """Plan the scene's messages; each frame is computed when its first message is written.

        Raises:
            ConfigError: The rig has no scanner and no calibrated place, as single cameras.
        """
        scene = build_scene(self.config)
        if self.cameras is not None:
            kept = tuple(scene.rig.camera(name) for name in self.cameras)
            scene = replace(scene, rig=replace(scene.rig, cameras=kept))
        film = Film(self._frames(), self._numbers())
        if scene.rig.name in values.KITTI_RIGS or scene.rig.name == "kitti360":
            content = kitti_content(scene, film, "raw" if options.raw_images else "png")
            if self.sweeps_every:
                add_sweeps(content, scene, self._sweeps())
            return content
        if scene.rig.name == "nuscenes":
            return nuscenes_content(scene, film, "raw" if options.raw_images else "jpeg")
        raise ConfigError(
            f"rig {scene.rig.name} is a single camera of a 2D test set, which has no bag: "
            "use kitti, kitti00, kitti360 or nuscenes"
        )

    def _frames(self) -> Iterable[Frame]:
        if self.frames is not None:
            return self.frames
        return make_frames(
            self.config, Parts(cameras=self.cameras), self._numbers(), jobs=self.jobs
        )

    def _sweeps(self) -> Film:
        """Frames between those that are whole, of which there is nothing but the sweep."""
        whole = set(self._numbers())
        numbers = [i for i in range(0, self.config.frames, self.sweeps_every) if i not in whole]
        return Film(make_frames(self.config, Parts(voxels=False, cameras=()), numbers), numbers)

    def _numbers(self) -> Sequence[int]:
        if self.frames is not None:
            return [frame.index for frame in self.frames]
        return range(0, self.config.frames, self.every)


class Film:
    """Frames in their order, of which only the latest is kept: a long drive needs little memory.

    Args:
        frames: The frames of a scene that are wanted, made as they are asked for.
        numbers: Their numbers in the scene.
    """

    def __init__(self, frames: Iterable[Frame], numbers: Sequence[int]) -> None:
        self._coming: Iterator[Frame] = iter(frames)
        self._latest: Frame | None = None
        self.numbers = tuple(numbers)

    def __getitem__(self, index: int) -> Frame:
        """The frame of a number that is not before the latest one."""
        while self._latest is None or self._latest.index < index:
            self._latest = next(self._coming)
        return self._latest


def kitti_content(scene: Scene, film: Film, form: str) -> Content:
    """A drive with the KITTI or KITTI-360 rig, its images in a form of `world_messages.image`."""
    is_odometry = scene.rig.name in values.KITTI_RIGS
    names = KITTI if is_odometry else KITTI360
    scheme = SEMANTICKITTI_SCHEME if is_odometry else SSCBENCH_SCHEME
    content = Content(links=[Link(BASE, VELODYNE, T_BASE_VELODYNE), Link(MAP, ODOM, np.eye(4))])
    for camera in scene.rig.cameras:
        T = inverse(scene.rig.lidar.T_base_lidar) @ camera.T_base_cam
        content.links.append(Link(VELODYNE, names[camera.name][1], T))
    models = camera_models(scene, names)
    add_latched(content, scene, scheme.label_map)
    add_mei(content, scene, names)

    def make(index: int) -> list[Outgoing]:
        frame, made = film[index], []
        for camera in scene.rig.cameras:
            made += world_messages.pictures(models[camera.name], frame, camera, form)
        made += world_messages.kitti_sweep(frame, VELODYNE, is_odometry=is_odometry)
        if frame.voxels is not None:
            made.append(world_messages.kitti_voxels(frame, scheme))
        return [*made, world_messages.hashes(frame)]

    for index in film.numbers:
        content.at(add_kitti_pose(content, scene, index), make, index)
    return content


def add_sweeps(content: Content, scene: Scene, film: Film) -> None:
    """Sweeps between the frames of a drive with the KITTI or KITTI-360 rig."""
    is_odometry = scene.rig.name in values.KITTI_RIGS

    def make(index: int) -> list[Outgoing]:
        return list(world_messages.kitti_sweep(film[index], VELODYNE, is_odometry=is_odometry))

    for index in film.numbers:
        content.at(add_kitti_pose(content, scene, index), make, index)


def add_kitti_pose(content: Content, scene: Scene, index: int) -> int:
    """Pose of a frame, in KITTI odometry from the first one; tells its stamp."""
    time_s = float(scene.frame_times[index])
    pose, stamp_ns = values.velodyne_base(scene, time_s), scene.stamp_ns(time_s)
    if scene.rig.name in values.KITTI_RIGS:
        pose = inverse(values.velodyne_base(scene, 0.0)) @ pose
    add_pose(content, pose, stamp_ns)
    return stamp_ns


def nuscenes_content(scene: Scene, film: Film, form: str) -> Content:
    """A drive with the nuScenes rig: key frames, every image with a stamp and pose of its own."""
    rig = scene.rig
    lidar_frame = rig.lidar.name.lower()
    links = [Link(MAP, ODOM, np.eye(4)), Link(BASE, lidar_frame, rig.lidar.T_base_lidar)]
    content = Content(links=links)
    names = {
        c.name: (f"/{c.name.lower()}/image_rect_color", f"{c.name.lower()}_optical")
        for c in rig.cameras
    }
    for camera in rig.cameras:
        content.links.append(Link(BASE, names[camera.name][1], camera.T_base_cam))
    models = camera_models(scene, names)
    add_latched(content, scene, OCC3D_LABELS)

    def picture(index: int, camera: RigCamera, stamp_ns: int) -> list[Outgoing]:
        model, frame = models[camera.name], film[index]
        return list(world_messages.pictures(model, frame, camera, form, stamp_ns))

    def rest(index: int) -> list[Outgoing]:
        frame = film[index]
        made = [*world_messages.nuscenes_sweep(frame, lidar_frame)]
        made += world_messages.boxes(scene, frame)
        if frame.voxels is not None:
            made += world_messages.occ3d_voxels(frame)
        return [*made, world_messages.hashes(frame)]

    for index in film.numbers:
        time_s = float(scene.frame_times[index])
        for camera in rig.cameras:
            at_s = time_s + camera.delay_s
            stamp_ns = scene.stamp_ns(at_s) // 1000 * 1000  # the data set has microseconds
            add_pose(content, scene.recorded_pose(at_s), stamp_ns)
            content.at(stamp_ns, picture, index, camera, stamp_ns)
        add_pose(content, scene.recorded_pose(time_s), scene.stamp_ns(time_s))
        content.at(scene.stamp_ns(time_s), rest, index)
    return content


def camera_models(scene: Scene, names: dict[str, tuple[str, str]]) -> dict[str, CameraModel]:
    """What CameraInfo says of each camera; stereo pairs are relative to their left one."""
    cameras = {camera.name: camera for camera in scene.rig.cameras}
    models = {name: camera_model(camera, *names[name]) for name, camera in cameras.items()}
    for left, right in PAIRS:
        if left in cameras and right in cameras:
            pair = (values.projection(cameras[name]) for name in (left, right))
            for name, P in zip((left, right), stereo_projections(*pair), strict=True):
                models[name] = replace(models[name], P=P)
    return models


def camera_model(camera: RigCamera, topic: str, frame_id: str) -> CameraModel:
    """A camera by itself."""
    lens = camera.lens
    size = lens.width, lens.height
    if isinstance(lens, Mei):
        gamma, centre = (lens.K[0, 0], lens.K[1, 1]), (lens.K[0, 2], lens.K[1, 2])
        fit = fit_equidistant(lens.xi, lens.k1, lens.k2, gamma, centre, size)
        P = np.hstack([fit.K, np.zeros((3, 1))])
        return CameraModel(topic, frame_id, *size, P, fit.K, fit.D, "equidistant")
    return CameraModel(topic, frame_id, *size, np.hstack([lens.K, np.zeros((3, 1))]))


def add_latched(content: Content, scene: Scene, label_map: str) -> None:
    """Meaning of the labels, and which world this is."""
    labels = messages.label_map(TRUE_LABEL_MAP, load_label_map(label_map), scene.stamp_ns(0.0))
    text = f"version {WORLD_VERSION}, voxel truth sensed by the scanner, {scene.config!r}"
    content.latched += [
        labels,
        Outgoing(WORLD_TEXT, TEXT, {"data": text}),
        Outgoing(PRIMITIVES, TEXT, {"data": primitives_json(scene)}),
    ]


def add_mei(content: Content, scene: Scene, names: dict[str, tuple[str, str]]) -> None:
    """The exact calibration of fisheyes."""
    for camera in scene.rig.cameras:
        if isinstance(camera.lens, Mei):
            topic = names[camera.name][0].rsplit("/", 1)[0]
            text = {"data": mei_text(camera.name, camera.lens)}
            content.latched.append(Outgoing(f"{topic}/mei_calibration", TEXT, text))
