"""All transforms of a bag, for any stamp in it: what a TransformBuffer is for a running robot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from occ_perception.bags.index import BagIndex, MessageStore
from occ_perception.bags.messages import MessageTypes
from occ_perception.bags.side_files import Arrays, from_json_array, json_array, side_file
from occ_perception.core.errors import TransformError
from occ_perception.geometry.transforms import Matrix, inverse, is_rigid, slerp, transform

FILE_NAME = ".occ_transforms.npz"
TF_TYPE = "tf2_msgs/msg/TFMessage"
SAME_M, SAME_ROTATION = 1e-3, 1.75e-4  # a pose that varies less is constant: 1 mm, 0.01 degrees


@dataclass(frozen=True, eq=False)
class Edge:
    """How a frame hangs on its parent.

    Attributes:
        parent: Frame.
        is_static: From /tf_static.
        stamps_ns: Ascending; one entry if static.
        poses: `[n, 7]` translation in metres and quaternion x y z w.
    """

    parent: str
    is_static: bool
    stamps_ns: npt.NDArray[np.int64]
    poses: npt.NDArray[np.float64]

    def pose(self, row: int) -> Matrix:
        """`T_parent_child` of a row."""
        return transform(self.poses[row, :3], self.poses[row, 3:])

    @property
    def is_constant(self) -> bool:
        """Whether the frame never moves against its parent, wherever it was published."""
        quaternions = self.poses[:, 3:] * np.sign(self.poses[:, 3:] @ self.poses[0, 3:])[:, None]
        shift = np.abs(self.poses[:, :3] - self.poses[0, :3]).max()
        turn = np.abs(quaternions - quaternions[0]).max()
        return bool(self.is_static or (shift <= SAME_M and turn <= SAME_ROTATION / 2))


class TransformTable:
    """The tree of frames of a bag over time."""

    def __init__(self, edges: Mapping[str, Edge]) -> None:
        """Take edges by their child frame.

        Raises:
            TransformError: The frames form a loop.
        """
        self.edges = dict(edges)
        for child in self.edges:
            self._chain(child)

    @classmethod
    def of_bag(cls, index: BagIndex, store: MessageStore) -> TransformTable:
        """All transforms of a bag; the work is done once per bag.

        Raises:
            TransformError: Two poses of one frame contradict each other.
            BagError: A message is damaged.
        """
        arrays = side_file(
            index.path, index.identity, FILE_NAME, lambda: _to_arrays(_read_edges(index, store))
        )
        return cls(_from_arrays(arrays))

    def frames(self) -> set[str]:
        """Names of all frames."""
        return {*self.edges, *(edge.parent for edge in self.edges.values())}

    def fixed(self, target: str, source: str) -> Matrix:
        """`T_target_source` of two frames that do not move against each other.

        Raises:
            TransformError: They are not connected, or one moves.
        """
        moving = [
            child for child in self._between(target, source) if not self.edges[child].is_constant
        ]
        if moving:
            raise TransformError(
                f"frame '{moving[0]}' between '{source}' and '{target}' moves, but a sensor must "
                "sit still on the base: name the right base frame"
            )
        return self._lookup(target, source, None, 0)

    def at(self, target: str, source: str, stamp_ns: int, max_gap_ns: int) -> Matrix:
        """`T_target_source` at a stamp, interpolated between the poses around it.

        Args:
            target: Frame to transform into.
            source: Frame to transform from.
            stamp_ns: Nanoseconds.
            max_gap_ns: Largest time between two poses that is interpolated over.

        Raises:
            TransformError: Not connected, or no poses around the stamp that are near enough.
        """
        return self._lookup(target, source, stamp_ns, max_gap_ns)

    def covers(
        self, target: str, source: str, stamps_ns: npt.NDArray[np.int64], max_gap_ns: int
    ) -> npt.NDArray[np.bool_]:
        """For which stamps `at` has an answer."""
        if not self.connects(target, source):
            return np.zeros(len(stamps_ns), np.bool_)
        covered = np.ones(len(stamps_ns), np.bool_)
        for child in self._between(target, source):
            edge = self.edges[child]
            if not edge.is_static:
                covered &= _bracketed(edge.stamps_ns, stamps_ns, max_gap_ns)
        return covered

    def connects(self, target: str, source: str) -> bool:
        """Whether the two frames hang on the same root."""
        known = self.frames()
        return {target, source} <= known and self._chain(target)[-1] == self._chain(source)[-1]

    def _chain(self, frame: str) -> list[str]:
        chain = [frame]
        while (edge := self.edges.get(chain[-1])) is not None:
            if edge.parent in chain:
                raise TransformError(f"frame '{frame}' hangs on itself: mend /tf of the recording")
            chain.append(edge.parent)
        return chain

    def _between(self, target: str, source: str) -> list[str]:
        """Children of the edges on the way."""
        up, down = self._paths(target, source)
        return [*up, *down]

    def _paths(self, target: str, source: str) -> tuple[list[str], list[str]]:
        if not self.connects(target, source):
            known = ", ".join(sorted(self.frames())) or "none"
            raise TransformError(
                f"no transform from '{source}' to '{target}' in the bag; its frames: {known}"
            )
        from_source, from_target = self._chain(source), self._chain(target)
        common = next(frame for frame in from_source if frame in from_target)
        return (
            from_source[: from_source.index(common)],
            from_target[: from_target.index(common)],
        )

    def _lookup(self, target: str, source: str, stamp_ns: int | None, max_gap_ns: int) -> Matrix:
        up, down = self._paths(target, source)
        T_root_source, T_root_target = np.eye(4), np.eye(4)
        for child in up:
            T_root_source = self._pose(child, stamp_ns, max_gap_ns) @ T_root_source
        for child in down:
            T_root_target = self._pose(child, stamp_ns, max_gap_ns) @ T_root_target
        return inverse(T_root_target) @ T_root_source

    def _pose(self, child: str, stamp_ns: int | None, max_gap_ns: int) -> Matrix:
        edge = self.edges[child]
        if stamp_ns is None or edge.is_static:
            return edge.pose(0)
        after = int(np.searchsorted(edge.stamps_ns, stamp_ns))
        if after < len(edge.stamps_ns) and edge.stamps_ns[after] == stamp_ns:
            return edge.pose(after)
        if after in (0, len(edge.stamps_ns)):
            nearest_ns = int(edge.stamps_ns[min(after, len(edge.stamps_ns) - 1)])
            raise TransformError(
                f"stamp {stamp_ns} is {abs(stamp_ns - nearest_ns) / 1e9:.3f} s outside of the "
                f"poses of '{child}' in '{edge.parent}'"
            )
        first, last = (int(edge.stamps_ns[i]) for i in (after - 1, after))
        if last - first > max_gap_ns:
            raise TransformError(
                f"the poses of '{child}' in '{edge.parent}' around stamp {stamp_ns} are "
                f"{(last - first) / 1e9:.3f} s apart, at most {max_gap_ns / 1e9:g} s is bridged"
            )
        share = (stamp_ns - first) / (last - first)
        a, b = edge.poses[after - 1], edge.poses[after]
        return transform((1 - share) * a[:3] + share * b[:3], slerp(a[3:], b[3:], share))


def _bracketed(
    known_ns: npt.NDArray[np.int64], stamps_ns: npt.NDArray[np.int64], max_gap_ns: int
) -> npt.NDArray[np.bool_]:
    """Whether a stamp is known, or lies between two known ones that are near each other."""
    last = len(known_ns) - 1
    after = np.searchsorted(known_ns, stamps_ns)
    at, before = known_ns[np.clip(after, 0, last)], known_ns[np.clip(after - 1, 0, last)]
    inside = (after > 0) & (after <= last) & (at - before <= max_gap_ns)
    return inside | (at == stamps_ns)


def _read_edges(index: BagIndex, store: MessageStore) -> dict[str, Edge]:
    types = MessageTypes()
    rows: dict[str, tuple[str, bool, dict[int, list[float]]]] = {}
    for topic in index.topics.values():
        if topic.msgtype != TF_TYPE:
            continue
        is_static = topic.name.endswith("/tf_static")
        for row in range(len(topic)):
            message = types.decode(TF_TYPE, store.read(topic.place(row)))
            for item in message.transforms:
                _add(rows, item, is_static)
    return {
        child: Edge(
            parent,
            is_static,
            np.array(sorted(poses), np.int64),
            np.array([poses[stamp] for stamp in sorted(poses)]),
        )
        for child, (parent, is_static, poses) in rows.items()
    }


def _add(
    rows: dict[str, tuple[str, bool, dict[int, list[float]]]], item: object, is_static: bool
) -> None:
    """Sort one TransformStamped in."""
    parent, child = item.header.frame_id.lstrip("/"), item.child_frame_id.lstrip("/")
    stamp_ns = item.header.stamp.sec * 10**9 + item.header.stamp.nanosec
    t, q = item.transform.translation, item.transform.rotation
    pose = [t.x, t.y, t.z, q.x, q.y, q.z, q.w]
    if not is_rigid(transform(pose[:3], pose[3:])):
        raise TransformError(f"the pose of '{child}' at stamp {stamp_ns} is not finite")
    known_parent, known_static, poses = rows.setdefault(child, (parent, is_static, {}))
    if (known_parent, known_static) != (parent, is_static):
        raise TransformError(
            f"frame '{child}' has two publishers, below '{known_parent}' and '{parent}': "
            "a frame has one parent; record without one of them"
        )
    if is_static:
        first = next(iter(poses.values()), pose)
        if np.abs(np.subtract(first, pose)).max() > SAME_M:
            raise TransformError(f"/tf_static has two different poses of frame '{child}'")
        if poses:
            return
    poses[stamp_ns] = pose


def _to_arrays(edges: Mapping[str, Edge]) -> Arrays:
    names = [[c, e.parent, e.is_static, len(e.stamps_ns)] for c, e in edges.items()]
    stamps = [e.stamps_ns for e in edges.values()] or [np.zeros(0, np.int64)]
    poses = [e.poses for e in edges.values()] or [np.zeros((0, 7))]
    return {
        "edges": json_array(names),
        "stamps_ns": np.concatenate(stamps),
        "poses": np.concatenate(poses),
    }


def _from_arrays(arrays: Arrays) -> dict[str, Edge]:
    names = from_json_array(arrays["edges"])
    ends = np.cumsum([count for *_, count in names]).astype(int)
    edges = {}
    for (child, parent, is_static, count), end in zip(names, ends, strict=True):
        part = slice(end - count, end)
        edges[child] = Edge(parent, is_static, arrays["stamps_ns"][part], arrays["poses"][part])
    return edges
