"""A nuScenes tree with its thirteen tables, and Occ3D's voxels beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from occ_perception.geometry.transforms import Matrix, quaternion_from_matrix, wxyz_from_xyzw
from occ_training.convert.trees.files import write_array, write_jpeg

TABLES = (
    "attribute", "calibrated_sensor", "category", "ego_pose", "instance", "log", "map", "sample",
    "sample_annotation", "sample_data", "scene", "sensor", "visibility",
)  # fmt: skip
VISIBILITY = ("v0-40", "v40-60", "v60-80", "v80-100")
Row = dict[str, Any]


def token(name: str) -> str:
    """Token of a path-like name: 32 hex digits that are the same in every run."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


@dataclass(frozen=True, eq=False)
class SensorFile:
    """One image or sweep.

    Attributes:
        channel: CAM_FRONT ... or LIDAR_TOP.
        stamp_us: Microseconds.
        T_global_ego: Pose of the car at this stamp.
        is_key: Belongs to a key frame.
        image: `[H, W, 3]` RGB for cameras.
        sweep: `[n, 5]` x, y, z, intensity 0..255, ring for the LiDAR.
        lidarseg: `[n]` uint8 class per point, key frames only.
    """

    channel: str
    stamp_us: int
    T_global_ego: Matrix
    is_key: bool
    image: npt.NDArray[np.uint8] | None = None
    sweep: npt.NDArray[np.float32] | None = None
    lidarseg: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class Annotation:
    """One object at a key frame.

    Attributes:
        instance: Number of the object in the scene.
        category: Name as in nuScenes.
        T_global_box: Pose.
        size_wlh_m: Width, length, height.
        lidar_points: Points on it.
    """

    instance: int
    category: str
    T_global_box: Matrix
    size_wlh_m: tuple[float, float, float]
    lidar_points: int = 0


@dataclass(frozen=True, eq=False)
class Occ3dVoxels:
    """Occ3D's truth at a key frame, each `[200, 200, 16]` uint8."""

    semantics: npt.NDArray[np.uint8]
    mask_lidar: npt.NDArray[np.uint8]
    mask_camera: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Key:
    """A key frame with the sweeps that come after the key before it.

    Attributes:
        stamp_us: Of the sample: that of its LiDAR sweep.
        files: Images and sweeps, keys and others.
        annotations: Objects.
        voxels: Occ3D's.
    """

    stamp_us: int
    files: Sequence[SensorFile]
    annotations: Sequence[Annotation] = ()
    voxels: Occ3dVoxels | None = None


class NuScenesWriter:
    """Collects the rows of all scenes; `close` writes the tables."""

    def __init__(self, root: Path, version: str = "v1.0-mini") -> None:
        """Start a tree.

        Args:
            root: Folder of the data set.
            version: Folder of the tables.
        """
        self._root, self._version = root, version
        self._rows: dict[str, dict[str, Row]] = {name: {} for name in TABLES}
        self._rows["lidarseg"] = {}
        self._splits: dict[str, list[str]] = {"train": [], "val": []}
        for level, name in enumerate(VISIBILITY, start=1):
            self._put("visibility", str(level), {"level": name, "description": ""})

    def add_scene(
        self,
        name: str,
        log: str,
        sensors: Mapping[str, tuple[Matrix, npt.NDArray[np.float64] | None]],
        keys: Sequence[Key],
        split: str = "",
    ) -> None:
        """Write the files of a scene and remember its rows.

        Args:
            name: scene-NNNN.
            log: Name of the log, in front of all file names.
            sensors: By channel: pose on the car, and `[3, 3]` intrinsics for cameras.
            keys: Key frames in order.
            split: "train" or "val" for Occ3D's list.
        """
        scene, log_token = token(f"scene/{name}"), token(f"log/{log}")
        self._put("log", log_token, log_row(log))
        self._put("map", token(f"map/{log}"), map_row(log, log_token))
        calibrations = {c: self._add_sensor(name, c, *how) for c, how in sensors.items()}
        samples = [token(f"sample/{name}/{n}") for n in range(len(keys))]
        chains = chain(samples)
        for number, key in enumerate(keys):
            row = {"timestamp": key.stamp_us, "scene_token": scene, **chains[number]}
            self._put("sample", samples[number], row)
            self._add_annotations(name, samples, number, key)
            if key.voxels is not None:
                self._write_voxels(name, samples[number], key.voxels)
        files = [(file, samples[n]) for n, key in enumerate(keys) for file in key.files]
        self._add_files(name, log, files, calibrations, {c: K for c, (_, K) in sensors.items()})
        first, last = samples[0], samples[-1]
        row = {"log_token": log_token, "nbr_samples": len(keys), "name": name, "description": ""}
        self._put("scene", scene, row | {"first_sample_token": first, "last_sample_token": last})
        if split:
            self._splits[split].append(name)

    def close(self) -> None:
        """Write the tables, and Occ3D's list if there are voxels."""
        folder = self._root / self._version
        folder.mkdir(parents=True, exist_ok=True)
        self._close_annotations()
        for name, rows in self._rows.items():
            if rows or name != "lidarseg":
                (folder / f"{name}.json").write_text(json.dumps(list(rows.values())), "utf-8")
        if (self._root / "gts").is_dir():
            infos = {name: {} for names in self._splits.values() for name in names}
            lists = {f"{split}_split": names for split, names in self._splits.items()}
            text = json.dumps({**lists, "scene_infos": infos})
            (self._root / "annotations.json").write_text(text, "utf-8")

    def _put(self, table: str, key: str, row: Row) -> str:
        self._rows[table].setdefault(key, {"token": key, **row})
        return key

    def _add_sensor(
        self, scene: str, channel: str, T: Matrix, K: npt.NDArray[np.float64] | None
    ) -> str:
        modality = "lidar" if K is None else "camera"
        row = {"channel": channel, "modality": modality}
        sensor = self._put("sensor", token(f"sensor/{channel}"), row)
        calibration = {"sensor_token": sensor, **pose_row(T)}
        calibration["camera_intrinsic"] = [] if K is None else K.tolist()
        key = token(f"calibrated_sensor/{scene}/{channel}")
        return self._put("calibrated_sensor", key, calibration)

    def _add_files(
        self,
        scene: str,
        log: str,
        files: Iterable[tuple[SensorFile, str]],
        calibrations: Mapping[str, str],
        intrinsics: Mapping[str, npt.NDArray[np.float64] | None],
    ) -> None:
        by_channel: dict[str, list[tuple[SensorFile, str]]] = {}
        for file, sample in files:
            by_channel.setdefault(file.channel, []).append((file, sample))
        for channel, items in by_channel.items():
            items.sort(key=lambda item: item[0].stamp_us)
            tokens = [token(f"sample_data/{scene}/{channel}/{f.stamp_us}") for f, _ in items]
            for (file, sample), key, links in zip(items, tokens, chain(tokens), strict=True):
                height, width = file.image.shape[:2] if file.image is not None else (0, 0)
                row = {
                    "sample_token": sample,
                    "ego_pose_token": key,
                    "calibrated_sensor_token": calibrations[channel],
                    "timestamp": file.stamp_us,
                    "fileformat": "pcd" if intrinsics[channel] is None else "jpg",
                    "is_key_frame": file.is_key,
                    "height": height,
                    "width": width,
                    "filename": self._write(log, file),
                }
                self._put("sample_data", key, row | links)
                pose = {"timestamp": file.stamp_us, **pose_row(file.T_global_ego)}
                self._put("ego_pose", key, pose)
                if file.lidarseg is not None:
                    self._write_lidarseg(key, file.lidarseg)

    def _write(self, log: str, file: SensorFile) -> str:
        suffix = "jpg" if file.image is not None else "pcd.bin"
        folder = "samples" if file.is_key else "sweeps"
        name = f"{folder}/{file.channel}/{log}__{file.channel}__{file.stamp_us}.{suffix}"
        if file.image is not None:
            write_jpeg(self._root / name, file.image)
        else:
            write_array(self._root / name, file.sweep, "<f4")
        return name

    def _write_lidarseg(self, key: str, labels: npt.NDArray[np.uint8]) -> None:
        name = f"lidarseg/{self._version}/{key}_lidarseg.bin"
        write_array(self._root / name, labels, "u1")
        self._put("lidarseg", key, {"sample_data_token": key, "filename": name})

    def _write_voxels(self, scene: str, sample: str, voxels: Occ3dVoxels) -> None:
        folder = self._root / "gts" / scene / sample
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / "labels.npz", **vars(voxels))

    def _add_annotations(self, scene: str, samples: list[str], number: int, key: Key) -> None:
        for box in key.annotations:
            category = token(f"category/{box.category}")
            self._put("category", category, {"name": box.category, "description": ""})
            instance = token(f"instance/{scene}/{box.instance}")
            self._put("instance", instance, {"category_token": category})
            row = {
                "sample_token": samples[number],
                "instance_token": instance,
                "visibility_token": str(len(VISIBILITY)),
                "attribute_tokens": [],
                **pose_row(box.T_global_box),
                "size": list(box.size_wlh_m),
                "num_lidar_pts": box.lidar_points,
                "num_radar_pts": 0,
            }
            self._put("sample_annotation", token(f"box/{instance}/{number}"), row)

    def _close_annotations(self) -> None:
        """Chain the annotations of each object."""
        by_instance: dict[str, list[str]] = {}
        for key, row in self._rows["sample_annotation"].items():
            by_instance.setdefault(row["instance_token"], []).append(key)
        for instance, keys in by_instance.items():
            self._rows["instance"][instance] |= {
                "nbr_annotations": len(keys),
                "first_annotation_token": keys[0],
                "last_annotation_token": keys[-1],
            }
            for key, links in zip(keys, chain(keys), strict=True):
                self._rows["sample_annotation"][key] |= links


def pose_row(T: Matrix) -> Row:
    """Translation and quaternion w x y z."""
    quaternion = wxyz_from_xyzw(quaternion_from_matrix(T[:3, :3]))
    return {"translation": T[:3, 3].tolist(), "rotation": quaternion.tolist()}


def chain(tokens: Sequence[str]) -> list[dict[str, str]]:
    """`prev` and `next` of rows in order; empty at the ends."""
    around = ["", *tokens, ""]
    return [{"prev": around[i], "next": around[i + 2]} for i in range(len(tokens))]


def log_row(log: str) -> Row:
    """Row of the log table."""
    vehicle, _, date = log.partition("-")
    return {
        "logfile": log,
        "vehicle": vehicle,
        "date_captured": date[:10],
        "location": "procedural-world",
    }


def map_row(log: str, log_token: str) -> Row:
    """Row of the map table; there is no map file."""
    return {"category": "semantic_prior", "filename": f"maps/{log}.png", "log_tokens": [log_token]}
