"""The procedural world as a bag without a detour: same topics and frames as converted data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from occ_perception.core.errors import ConfigError
from occ_perception.core.labels import load_label_map
from occ_perception.geometry.transforms import Matrix, inverse
from occ_training.convert import messages
from occ_training.convert import world_values as values
from occ_training.convert.content import (
    BASE,
    MAP,
    ODOM,
    T_BASE_VELODYNE,
    TRUE_LABEL_MAP,
    TRUE_POINTS,
    TRUE_VOXELS,
    VELODYNE,
    Content,
    Link,
    Options,
    add_pose,
    stereo_projections,
)
from occ_training.convert.fisheye_fit import fit_equidistant
from occ_training.convert.lidar import SWEEPS
from occ_training.convert.messages import TEXT, CameraModel, Outgoing, VoxelTruth
from occ_training.convert.nuscenes import CAMERA_MASK, OCC3D_GRID, OCC3D_LABELS, Box, markers
from occ_training.convert.report import Report
from occ_training.convert.semantickitti_voxels import (
    GRID,
    SEMANTICKITTI_SCHEME,
    SSCBENCH_SCHEME,
    VoxelScheme,
    training_voxels,
)
from occ_training.convert.trees.files import jpeg_bytes, png_bytes
from occ_training.convert.world_trees import mei_text
from occ_training.data.semantickitti_labels import IGNORE
from occ_training.world.config import WORLD_VERSION, WorldConfig
from occ_training.world.frames import Frame, Parts, make_frames
from occ_training.world.lenses import Mei
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


@dataclass(frozen=True)
class WorldScene:
    """A scene of the world, which `runner.convert` writes like any data set's.

    Attributes:
        config: Rig, preset, seed and so on.
        cameras: Names of the rig's cameras that are wanted; None for all. One stereo pair of KITTI
            is ("image_2", "image_3").
        jobs: Processes that compute frames.
        frames: Frames that were computed already, instead of computing them.
        split: Split it belongs to.
    """

    config: WorldConfig
    cameras: tuple[str, ...] | None = None
    jobs: int = 1
    frames: tuple[Frame, ...] | None = None
    split: str = ""

    @property
    def name(self) -> str:
        """Name of its bag."""
        return f"world_{self.config.rig}_{self.config.preset}_{self.config.seed}"

    def __repr__(self) -> str:
        """What decides about the content, for the fingerprint of a conversion."""
        return f"WorldScene({WORLD_VERSION}, {self.config!r}, {self.cameras})"

    def read(self, options: Options, report: Report) -> Content:
        """Compute the scene.

        Raises:
            ConfigError: The rig has no scanner and no calibrated place, as single cameras.
        """
        scene = build_scene(self.config)
        if self.cameras is not None:
            kept = tuple(scene.rig.camera(name) for name in self.cameras)
            scene = replace(scene, rig=replace(scene.rig, cameras=kept))
        if scene.rig.name in values.KITTI_RIGS or scene.rig.name == "kitti360":
            return kitti_content(scene, self._frames())
        if scene.rig.name == "nuscenes":
            return nuscenes_content(scene, self._frames())
        raise ConfigError(
            f"rig {scene.rig.name} is a single camera of a 2D test set, which has no bag: "
            "use kitti, kitti00, kitti360 or nuscenes"
        )

    def _frames(self) -> Iterator[Frame]:
        if self.frames is not None:
            return iter(self.frames)
        return make_frames(self.config, Parts(cameras=self.cameras), jobs=self.jobs)


def kitti_content(scene: Scene, frames: Iterator[Frame]) -> Content:
    """A drive with the KITTI or KITTI-360 rig."""
    is_odometry = scene.rig.name in values.KITTI_RIGS
    names = KITTI if is_odometry else KITTI360
    scheme = SEMANTICKITTI_SCHEME if is_odometry else SSCBENCH_SCHEME
    T_base_velodyne = scene.rig.lidar.T_base_lidar
    content = Content(links=[Link(BASE, VELODYNE, T_BASE_VELODYNE), Link(MAP, ODOM, np.eye(4))])
    for camera in scene.rig.cameras:
        T = inverse(T_base_velodyne) @ camera.T_base_cam
        content.links.append(Link(VELODYNE, names[camera.name][1], T))
    models = camera_models(scene, names)
    add_latched(content, scene, scheme.label_map)
    add_mei(content, scene, names)
    origin: Matrix | None = None
    for frame in frames:
        base = values.velodyne_base(scene, frame.time_s)
        if origin is None:
            origin = inverse(base) if is_odometry else np.eye(4)
        add_pose(content, origin @ base, frame.stamp_ns)
        for camera in scene.rig.cameras:
            image = png_bytes(values.picture(frame, camera))
            add_image(content, models[camera.name], image, "png", frame.stamp_ns)
            add_true_images(content, models[camera.name], frame, camera.name, frame.stamp_ns)
        add_kitti_sweep(content, frame, is_odometry=is_odometry)
        if frame.voxels is not None:
            add(content, frame.stamp_ns, kitti_voxels(frame, scheme))
    return content


def nuscenes_content(scene: Scene, frames: Iterator[Frame]) -> Content:
    """A drive with the nuScenes rig: key frames, every image with a stamp and pose of its own."""
    rig = scene.rig
    content = Content(links=[Link(MAP, ODOM, np.eye(4))])
    lidar_frame = rig.lidar.name.lower()
    content.links.append(Link(BASE, lidar_frame, rig.lidar.T_base_lidar))
    names = {
        c.name: (f"/{c.name.lower()}/image_rect_color", f"{c.name.lower()}_optical")
        for c in rig.cameras
    }
    for camera in rig.cameras:
        content.links.append(Link(BASE, names[camera.name][1], camera.T_base_cam))
    models = camera_models(scene, names)
    add_latched(content, scene, OCC3D_LABELS)
    for frame in frames:
        for camera in rig.cameras:
            time_s = frame.time_s + camera.delay_s
            stamp_ns = scene.stamp_ns(time_s) // 1000 * 1000  # the data set has microseconds
            image = jpeg_bytes(frame.pictures[camera.name].rgb)
            add_image(content, models[camera.name], image, "jpeg", stamp_ns)
            add_true_images(content, models[camera.name], frame, camera.name, stamp_ns)
            add_pose(content, scene.recorded_pose(time_s), stamp_ns)
        add_pose(content, scene.recorded_pose(frame.time_s), frame.stamp_ns)
        add_nuscenes_sweep(content, frame, lidar_frame)
        if boxes := true_boxes(scene, frame):
            add(content, frame.stamp_ns, *markers(boxes, frame.stamp_ns))
        if frame.voxels is not None:
            add(content, frame.stamp_ns, *occ3d_voxels(frame))
    return content


def camera_models(scene: Scene, names: dict[str, tuple[str, str]]) -> dict[str, CameraModel]:
    """What CameraInfo says of each camera; stereo pairs are relative to their left one."""
    cameras = {camera.name: camera for camera in scene.rig.cameras}
    models = {name: camera_model(camera, *names[name]) for name, camera in cameras.items()}
    for left, right in PAIRS:
        if left in cameras:
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


def add(content: Content, stamp_ns: int, *outgoing: Outgoing) -> None:
    """Messages that are made already."""
    made: Callable[[], tuple[Outgoing, ...]] = lambda: outgoing  # noqa: E731
    content.at(stamp_ns, made)


def add_image(content: Content, camera: CameraModel, data: bytes, form: str, stamp_ns: int) -> None:
    """An image and its CameraInfo."""
    image = messages.compressed_image(camera.topic, camera.frame_id, stamp_ns, data, form)
    add(content, stamp_ns, image, messages.camera_info(camera, stamp_ns))


def add_latched(content: Content, scene: Scene, label_map: str) -> None:
    """Meaning of the labels, and which world this is."""
    first_ns = scene.stamp_ns(0.0)
    labels = load_label_map(label_map)
    content.latched.append(messages.label_map(TRUE_LABEL_MAP, labels, first_ns))
    text = f"version {WORLD_VERSION}, {scene.config!r}"
    content.latched.append(Outgoing(WORLD_TEXT, TEXT, {"data": text}))


def add_mei(content: Content, scene: Scene, names: dict[str, tuple[str, str]]) -> None:
    """The exact calibration of fisheyes."""
    for camera in scene.rig.cameras:
        if isinstance(camera.lens, Mei):
            topic = names[camera.name][0].rsplit("/", 1)[0]
            text = {"data": mei_text(camera.name, camera.lens)}
            content.latched.append(Outgoing(f"{topic}/mei_calibration", TEXT, text))


def add_kitti_sweep(content: Content, frame: Frame, *, is_odometry: bool) -> None:
    """A sweep, and in KITTI odometry its labels."""
    xyzi = values.kitti_sweep(frame.sweep, corrected=is_odometry)
    columns = dict(zip(("x", "y", "z", "intensity"), xyzi.T, strict=True))
    add(content, frame.stamp_ns, messages.points(SWEEPS, VELODYNE, frame.stamp_ns, columns))
    if is_odometry:
        raw = values.kitti_point_labels(frame.sweep)
        labelled = {axis: columns[axis] for axis in "xyz"}
        labelled |= {"label": (raw & 0xFFFF).astype("<u2"), "instance": (raw >> 16).astype("<u2")}
        cloud = messages.points(TRUE_POINTS, VELODYNE, frame.stamp_ns, labelled)
        add(content, frame.stamp_ns, cloud)


def add_true_images(
    content: Content, camera: CameraModel, frame: Frame, name: str, stamp_ns: int
) -> None:
    """Classes and instances (Cityscapes' ids, PNG) and depth along the axis (metres, 0 = none)."""
    folder = f"/ground_truth{camera.topic.rsplit('/', 1)[0]}"
    pairs = zip(("semantic", "instance"), values.street_labels(frame, name), strict=True)
    images = [
        messages.compressed_image(
            f"{folder}/{kind}", camera.frame_id, stamp_ns, png_bytes(labels), "png"
        )
        for kind, labels in pairs
    ]
    render = frame.pictures[name]
    depth_m = np.where(render.surface, render.depth_m, 0).astype("<f4")
    depth = messages.raw_image(f"{folder}/depth", camera.frame_id, stamp_ns, depth_m, "32FC1")
    add(content, stamp_ns, *images, depth)


def add_nuscenes_sweep(content: Content, frame: Frame, frame_id: str) -> None:
    """A sweep with its lidarseg classes."""
    sweep = values.nuscenes_sweep(frame.sweep)
    columns = dict(zip(("x", "y", "z", "intensity"), sweep[:, :4].T, strict=True))
    ring = {"ring": sweep[:, 4].astype("<u2")}
    topic, stamp_ns = f"/{frame_id}/points", frame.stamp_ns
    add(content, stamp_ns, messages.points(topic, frame_id, stamp_ns, columns | ring))
    classes = {"label": values.lookup("lidarseg")[frame.sweep.class_id].astype("<u2")}
    labelled = {axis: columns[axis] for axis in "xyz"} | classes
    add(content, stamp_ns, messages.points(TRUE_POINTS, frame_id, stamp_ns, labelled))


def true_boxes(scene: Scene, frame: Frame) -> list[Box]:
    """Annotated objects as the converter reads them from the tables."""
    return [
        Box(frame.stamp_ns, a.T_global_box, (length, width, height), a.category, a.instance)
        for a in values.annotations(scene, frame)
        for width, length, height in [a.size_wlh_m]
    ]


def kitti_voxels(frame: Frame, scheme: VoxelScheme) -> Outgoing:
    """Sensed truth in the velodyne's frame."""
    raw = values.kitti_voxels(frame.voxels)
    labels = training_voxels(raw.labels, raw.invalid, scheme)
    truth = VoxelTruth(GRID, labels != IGNORE, labels, scheme.label_map)
    return messages.voxels(TRUE_VOXELS, truth, frame.stamp_ns)


def occ3d_voxels(frame: Frame) -> tuple[Outgoing, Outgoing]:
    """Sensed truth in the ego frame, with both masks."""
    voxels = values.occ3d_voxels(frame.voxels)
    truth = VoxelTruth(OCC3D_GRID, voxels.mask_lidar == 1, voxels.semantics, OCC3D_LABELS)
    seen = VoxelTruth(OCC3D_GRID, voxels.mask_camera == 1)
    return (
        messages.voxels(TRUE_VOXELS, truth, frame.stamp_ns),
        messages.voxels(CAMERA_MASK, seen, frame.stamp_ns),
    )
