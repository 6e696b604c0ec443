"""Finding nuScenes' scenes: in the json tables, or in the info pickles made of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from occ_perception.core.errors import TransformError
from occ_training.convert.files import inside, read_image, read_text
from occ_training.convert.infos import read_infos
from occ_training.convert.nuscenes import (
    BOXES,
    LIDAR,
    Box,
    NuScenesScene,
    Record,
    microseconds,
    pose_wxyz,
)
from occ_training.convert.report import DatasetError

Row = Mapping[str, Any]

VERSIONS = ("v1.0-trainval", "v1.0-test", "v1.0-mini")
MINI_VAL = ("scene-0103", "scene-0916")
MINI = (
    "scene-0061", "scene-0103", "scene-0553", "scene-0655", "scene-0757",
    "scene-0796", "scene-0916", "scene-1077", "scene-1094", "scene-1100",
)  # fmt: skip


class Tables:
    """The json tables of one version of the data set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def rows(self, name: str) -> list[Row]:
        """All rows of a table; none if the table is not there.

        Raises:
            DatasetError: It is no list of rows.
        """
        path = self.folder / f"{name}.json"
        if not path.is_file():
            return []
        try:
            rows = json.loads(read_text(path))
        except ValueError as error:
            raise DatasetError(f"{path} is damaged ({error}): fetch the tables again") from error
        if not isinstance(rows, list):
            raise DatasetError(f"{path} holds no rows: fetch the tables again")
        return rows

    def by_token(self, name: str) -> dict[str, Row]:
        """Rows by token.

        Raises:
            DatasetError: The table is missing or empty.
        """
        rows = {row["token"]: row for row in self.rows(name)}
        if not rows:
            raise DatasetError(f"{self.folder / name}.json is missing: fetch the tables again")
        return rows


def find_scenes(
    source: Path, *, occ3d: Path | None = None, version: str | None = None
) -> list[NuScenesScene]:
    """Scenes of the json tables.

    Args:
        source: Folder with samples/ and v1.0-*.
        occ3d: Folder with Occ3D's gts/ and annotations.json.
        version: Folder of the tables; None = the only one there is.

    Raises:
        DatasetError: No tables, several versions, or a table is damaged.
    """
    tables = Tables(source / (version or find_version(source)))
    records = read_records(tables)
    boxes = read_boxes(tables)
    splits = read_splits(occ3d, tables.folder.name)
    missing = ["radar sweeps (not converted)"]
    missing += [] if boxes else [f"sample_annotation.json ({BOXES})"]
    missing += [] if any(r.lidarseg for rs in records.values() for r in rs) else ["lidarseg"]
    return [
        NuScenesScene(
            source, row["name"], splits.get(row["name"], ""), records[token],
            boxes.get(token, ()), tuple(missing), occ3d,
        )
        for token, row in tables.by_token("scene").items()
        if records.get(token)
    ]  # fmt: skip


def find_version(source: Path) -> str:
    """The one folder with tables.

    Raises:
        DatasetError: There is none, or several.
    """
    found = [name for name in VERSIONS if (source / name).is_dir()]
    if len(found) != 1:
        raise DatasetError(
            f"{source} has {'several' if found else 'none'} of the folders {', '.join(VERSIONS)}: "
            + ("name one with --version" if found else "give the folder that holds the tables")
        )
    return found[0]


def read_records(tables: Tables) -> dict[str, list[Record]]:
    """Files of cameras and LiDAR by token of their scene.

    Raises:
        DatasetError: A row is incomplete or refers to one that is not there.
    """
    samples, poses = tables.by_token("sample"), tables.by_token("ego_pose")
    calibrations, sensors = tables.by_token("calibrated_sensor"), tables.by_token("sensor")
    segmentation = {row["sample_data_token"]: row["filename"] for row in tables.rows("lidarseg")}
    records: dict[str, list[Record]] = defaultdict(list)
    for row in tables.rows("sample_data"):
        where = f"{tables.folder / 'sample_data'}.json, row {row.get('token')}"
        try:
            calibration = calibrations[row["calibrated_sensor_token"]]
            channel = sensors[calibration["sensor_token"]]["channel"]
            if channel != LIDAR and not channel.startswith("CAM_"):
                continue
            K = calibration["camera_intrinsic"]
            pose = poses[row["ego_pose_token"]]
            record = Record(
                channel=channel,
                filename=row["filename"],
                stamp_ns=microseconds(row, where),
                T_ego_sensor=pose_wxyz(calibration["translation"], calibration["rotation"]),
                T_global_ego=pose_wxyz(pose["translation"], pose["rotation"]),
                K=np.array(K, np.float64).reshape(3, 3) if K else None,
                size=(int(row.get("width") or 0), int(row.get("height") or 0)),
                key=row["sample_token"] if row["is_key_frame"] else "",
                lidarseg=segmentation.get(row["token"], ""),
            )
            records[samples[row["sample_token"]]["scene_token"]].append(record)
        except (KeyError, TypeError, ValueError, TransformError) as error:
            raise DatasetError(
                f"{where} is incomplete ({error}): fetch the tables again"
            ) from error
    return records


def read_boxes(tables: Tables) -> dict[str, list[Box]]:
    """Annotated objects by token of their scene; none where there are no annotations.

    Raises:
        DatasetError: A row is incomplete.
    """
    rows = tables.rows("sample_annotation")
    if not rows:
        return {}
    samples, instances = tables.by_token("sample"), tables.by_token("instance")
    categories = tables.by_token("category")
    numbers: dict[str, int] = {}
    boxes: dict[str, list[Box]] = defaultdict(list)
    for row in rows:
        try:
            sample, instance = samples[row["sample_token"]], row["instance_token"]
            width, length, height = row["size"]
            box = Box(
                stamp_ns=microseconds(sample, "sample.json"),
                T_global_box=pose_wxyz(row["translation"], row["rotation"]),
                size_m=(length, width, height),
                category=categories[instances[instance]["category_token"]]["name"],
                instance=numbers.setdefault(instance, len(numbers)),
            )
            boxes[sample["scene_token"]].append(box)
        except (KeyError, TypeError, ValueError, TransformError) as error:
            raise DatasetError(
                f"{tables.folder / 'sample_annotation'}.json, row {row.get('token')} is "
                f"incomplete ({error}): fetch the tables again"
            ) from error
    return boxes


def read_splits(occ3d: Path | None, version: str) -> dict[str, str]:
    """Split by name of the scene, as far as the files or the version say."""
    if version == "v1.0-mini":
        return {name: "val" if name in MINI_VAL else "train" for name in MINI}
    path = occ3d / "annotations.json" if occ3d else None
    if path is None or not path.is_file():
        return {}
    try:
        published = json.loads(read_text(path))
        lists = {name: published[f"{name}_split"] for name in ("train", "val")}
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} has no splits ({error}): fetch Occ3D's file again") from error
    return {scene: name for name, scenes in lists.items() for scene in scenes}


def scenes_of_infos(source: Path, path: Path, *, occ3d: Path | None = None) -> list[NuScenesScene]:
    """Scenes of an info pickle as BEVDet and its kin pass them on: key frames only.

    Args:
        source: Folder with samples/.
        path: The pickle.
        occ3d: Folder with Occ3D's gts/ and annotations.json.

    Raises:
        DatasetError: It carries code, or is no list of infos.
    """
    content = read_infos(path)
    try:
        infos = content["infos"]
        records: dict[str, list[Record]] = defaultdict(list)
        for info in infos:
            name = info.get("scene_name") or info["scene_token"]
            records[name] += info_records(info, source)
    except (KeyError, TypeError, ValueError, AttributeError, TransformError) as error:
        raise DatasetError(f"{path} is no list of nuScenes infos ({error})") from error
    splits = read_splits(occ3d, "")
    missing = (f"boxes ({BOXES}), sweeps, lidarseg: infos do not have them as the tables do",)
    return [
        NuScenesScene(source, name, splits.get(name, ""), rows, (), missing, occ3d)
        for name, rows in records.items()
    ]


def info_records(info: Row, source: Path) -> list[Record]:
    """LiDAR and cameras of one key frame."""
    lidar = Record(
        channel=LIDAR,
        filename=below_root(info["lidar_path"]),
        stamp_ns=int(info["timestamp"]) * 1000,
        T_ego_sensor=pose_wxyz(info["lidar2ego_translation"], info["lidar2ego_rotation"]),
        T_global_ego=pose_wxyz(info["ego2global_translation"], info["ego2global_rotation"]),
        key=info["token"],
    )
    return [lidar, *(camera_record(c, r, info["token"], source) for c, r in info["cams"].items())]


def camera_record(channel: str, row: Row, token: str, source: Path) -> Record:
    """One camera of an info; the image's size is the file's, infos do not have it."""
    filename = below_root(row["data_path"])
    image = read_image(inside(source, filename))
    return Record(
        channel=channel,
        filename=filename,
        stamp_ns=int(row["timestamp"]) * 1000,
        T_ego_sensor=pose_wxyz(row["sensor2ego_translation"], row["sensor2ego_rotation"]),
        T_global_ego=pose_wxyz(row["ego2global_translation"], row["ego2global_rotation"]),
        K=np.array(row["cam_intrinsic"], np.float64).reshape(3, 3),
        size=(image.width, image.height),
        key=token,
    )


def below_root(path: str) -> str:
    """Path from samples/ or sweeps/ on: infos carry the folder of whoever made them in front."""
    parts: Sequence[str] = Path(path).parts
    for start in ("samples", "sweeps"):
        if start in parts:
            return "/".join(parts[parts.index(start) :])
    raise DatasetError(f"path '{path}' of the infos names no file of samples/ or sweeps/")
