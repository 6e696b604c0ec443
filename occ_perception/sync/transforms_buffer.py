"""Transforms between named frames over time: what tf2 is asked for, without ROS.

Frames form a tree; every frame hangs on one parent by a static or a timed transform. A lookup
either has the data or raises: it never extrapolates and never becomes identity.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np

from occ_perception.core.errors import TransformError
from occ_perception.geometry.transforms import (
    Matrix,
    Vector,
    inverse,
    quaternion_from_matrix,
    slerp,
    transform,
)


@dataclass(frozen=True, eq=False)
class _Sample:
    stamp_ns: int
    translation_m: Vector
    xyzw: Vector

    def matrix(self) -> Matrix:
        return transform(self.translation_m, self.xyzw)


_stamp = attrgetter("stamp_ns")


@dataclass(eq=False)
class _Edge:
    """How a frame hangs on its parent: one sample if static, else samples in order of stamps."""

    parent: str
    is_static: bool
    samples: list[_Sample] = field(default_factory=list)


class TransformBuffer:
    """Keeps the newest transforms and answers `T_target_source` at a stamp; thread-safe."""

    def __init__(
        self, keep_s: float = 10.0, max_bracket_s: float = 1.0, restart_s: float = 1.0
    ) -> None:
        """Start without frames.

        Args:
            keep_s: Age up to which timed transforms are kept, seconds.
            max_bracket_s: Largest gap between two samples that is interpolated over, seconds.
            restart_s: A sample older than its frame's newest by more than this starts the frame's
                history anew (a bag began again); younger ones are sorted in, seconds.
        """
        self._keep_ns = round(keep_s * 1e9)
        self._max_bracket_ns = round(max_bracket_s * 1e9)
        self._restart_ns = round(restart_s * 1e9)
        self._edges: dict[str, _Edge] = {}
        self._static_chains: dict[tuple[str, str], Matrix] = {}
        self._changed = threading.Condition()

    def set(self, parent: str, child: str, T: Matrix, stamp_ns: int | None = None) -> None:
        """Store the pose of frame `child` in frame `parent`.

        Args:
            parent: Frame in which the pose is given.
            child: Frame whose pose it is; a frame has one parent, the newest wins.
            T: `[4, 4]` pose `T_parent_child`, metres.
            stamp_ns: Time of the pose, nanoseconds; None = static.

        Raises:
            TransformError: A name is empty, the frames form a loop, or the pose is not finite.
        """
        parent, child = _name(parent), _name(child)
        if not np.isfinite(T).all():
            raise TransformError(f"transform '{parent}' -> '{child}' holds NaN or infinity")
        sample = _Sample(stamp_ns or 0, T[:3, 3].copy(), quaternion_from_matrix(T[:3, :3]))
        with self._changed:
            if child in self._ancestors(parent):
                raise TransformError(f"transform '{parent}' -> '{child}' would close a loop")
            self._store(parent, child, sample, is_static=stamp_ns is None)
            self._changed.notify_all()

    def clear_timed(self) -> None:
        """Forget all timed transforms, e.g. after time jumped back; static ones stay."""
        with self._changed:
            self._edges = {c: e for c, e in self._edges.items() if e.is_static}

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float = 0.0) -> Matrix:
        """Pose of frame `source` in frame `target`: `T_target_source` `[4, 4]`, metres.

        Args:
            target: Frame to transform into.
            source: Frame to transform from.
            stamp_ns: Time of interest, nanoseconds.
            timeout_s: How long to wait for missing data, seconds.

        Raises:
            TransformError: Frame missing, frames not connected, stamp outside the data, or the
                samples around it too far apart.
        """
        target, source = _name(target), _name(source)
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                try:
                    return self._lookup(target, source, stamp_ns)
                except TransformError:
                    remaining_s = deadline_s - time.monotonic()
                    if remaining_s <= 0:
                        raise
                    self._changed.wait(remaining_s)

    def _store(self, parent: str, child: str, sample: _Sample, *, is_static: bool) -> None:
        edge = self._edges.get(child)
        if edge is None or edge.parent != parent or edge.is_static or is_static:
            self._edges[child] = _Edge(parent, is_static, [sample])
            self._static_chains.clear()
            return
        samples = edge.samples
        if samples[-1].stamp_ns - sample.stamp_ns > self._restart_ns:
            samples.clear()
        place = bisect_left(samples, sample.stamp_ns, key=_stamp)
        if place < len(samples) and samples[place].stamp_ns == sample.stamp_ns:
            samples[place] = sample
        else:
            samples.insert(place, sample)
        first_kept = bisect_left(samples, samples[-1].stamp_ns - self._keep_ns, key=_stamp)
        del samples[:first_kept]

    def _ancestors(self, frame: str) -> list[str]:
        """The frame itself, its parent, and so on to the root."""
        chain = [frame]
        while (edge := self._edges.get(chain[-1])) is not None:
            chain.append(edge.parent)
        return chain

    def _lookup(self, target: str, source: str, stamp_ns: int) -> Matrix:
        if (known := self._static_chains.get((target, source))) is not None:
            return known.copy()
        up, down = self._paths(target, source)
        T_root_source = self._compose(up, stamp_ns, target, source)
        T_root_target = self._compose(down, stamp_ns, target, source)
        T = inverse(T_root_target) @ T_root_source
        if all(self._edges[child].is_static for child in (*up, *down)):
            self._static_chains[target, source] = T.copy()
        return T

    def _paths(self, target: str, source: str) -> tuple[list[str], list[str]]:
        """Frames below the common ancestor: on the way up from source, and from target."""
        from_source, from_target = self._ancestors(source), self._ancestors(target)
        common = next((frame for frame in from_source if frame in from_target), None)
        if common is None or (target == source and not self._knows(source)):
            raise TransformError(self._why_unconnected(target, source))
        return (
            from_source[: from_source.index(common)],
            from_target[: from_target.index(common)],
        )

    def _knows(self, frame: str) -> bool:
        return frame in self._edges or any(edge.parent == frame for edge in self._edges.values())

    def _why_unconnected(self, target: str, source: str) -> str:
        asked = f"no transform from '{source}' to '{target}'"
        missing = [frame for frame in (source, target) if not self._knows(frame)]
        if missing:
            frames = sorted({*self._edges, *(edge.parent for edge in self._edges.values())})
            known = ", ".join(frames) if frames else "none, nothing came on /tf or /tf_static"
            return (
                f"{asked}: frame '{missing[0]}' does not exist (known frames: {known}); "
                "publish it or set frames.* to a frame of this robot"
            )
        roots = self._ancestors(source)[-1], self._ancestors(target)[-1]
        return (
            f"{asked}: they hang on different roots '{roots[0]}' and '{roots[1]}'; "
            "publish a transform that connects them"
        )

    def _compose(self, path: list[str], stamp_ns: int, target: str, source: str) -> Matrix:
        """Product along a path from its topmost frame's parent down to its first frame."""
        T = np.eye(4)
        for child in path:
            T = self._pose(child, stamp_ns, f"no transform from '{source}' to '{target}'") @ T
        return T

    def _pose(self, child: str, stamp_ns: int, asked: str) -> Matrix:
        """Pose of a frame in its parent at a stamp."""
        edge = self._edges[child]
        if edge.is_static:
            return edge.samples[0].matrix()
        samples = edge.samples
        after = bisect_left(samples, stamp_ns, key=_stamp)
        if after < len(samples) and samples[after].stamp_ns == stamp_ns:
            return samples[after].matrix()
        link = f"'{edge.parent}' -> '{child}'"
        if after == 0 or after == len(samples):
            edge_ns = samples[0].stamp_ns if after == 0 else samples[-1].stamp_ns
            gap_s = abs(stamp_ns - edge_ns) / 1e9
            side = "before the oldest" if after == 0 else "after the newest"
            raise TransformError(
                f"{asked}: the stamp is {gap_s:.3f} s {side} data of {link}; check that its "
                "publisher runs and uses the same clock, or raise frames.tf_timeout_s"
            )
        first, last = samples[after - 1], samples[after]
        width_ns = last.stamp_ns - first.stamp_ns
        if width_ns > self._max_bracket_ns:
            raise TransformError(
                f"{asked}: the data of {link} around the stamp are {width_ns / 1e9:.3f} s apart, "
                f"at most {self._max_bracket_ns / 1e9:g} s is bridged; publish it more often"
            )
        fraction = (stamp_ns - first.stamp_ns) / width_ns
        translation_m = (1 - fraction) * first.translation_m + fraction * last.translation_m
        return transform(translation_m, slerp(first.xyzw, last.xyzw, fraction))


def _name(frame: str) -> str:
    """A frame's name without the leading slash of ROS 1."""
    bare = frame.lstrip("/")
    if not bare:
        raise TransformError("a frame has an empty name; set header.frame_id at the publisher")
    return bare
