"""The transform buffer against a slow reference, and each error with its sentence."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from occ_perception.core.errors import TransformError
from occ_perception.geometry.transforms import transform
from occ_perception.sync.transforms_buffer import TransformBuffer

S = 1_000_000_000


def pose(seed):
    rng = np.random.default_rng(seed)
    T = np.eye(4)
    T[:3, :3] = Rotation.random(random_state=seed).as_matrix()
    T[:3, 3] = rng.uniform(-5, 5, 3)
    return T


def test_a_static_chain_runs_both_ways():
    buffer = TransformBuffer()
    T_map_base, T_base_cam = pose(1), pose(2)
    buffer.set("map", "base", T_map_base)
    buffer.set("/base", "cam", T_base_cam)  # a leading slash is the same frame
    np.testing.assert_allclose(buffer.lookup("map", "cam", 0), T_map_base @ T_base_cam)
    np.testing.assert_allclose(
        buffer.lookup("cam", "map", 5 * S), np.linalg.inv(T_map_base @ T_base_cam), atol=1e-12
    )


def test_siblings_meet_at_their_parent():
    buffer = TransformBuffer()
    buffer.set("base", "left", pose(1))
    buffer.set("base", "right", pose(2))
    np.testing.assert_allclose(
        buffer.lookup("left", "right", 0), np.linalg.inv(pose(1)) @ pose(2), atol=1e-12
    )


def test_a_new_static_transform_replaces_the_cached_one():
    buffer = TransformBuffer()
    buffer.set("base", "cam", pose(1))
    buffer.lookup("base", "cam", 0)
    buffer.set("base", "cam", pose(2))
    np.testing.assert_allclose(buffer.lookup("base", "cam", 0), pose(2), atol=1e-12)


def test_a_caller_cannot_spoil_the_cache():
    buffer = TransformBuffer()
    buffer.set("base", "cam", pose(1))
    buffer.lookup("base", "cam", 0)[:] = 0
    np.testing.assert_allclose(buffer.lookup("base", "cam", 0), pose(1), atol=1e-12)


def test_half_way_is_half_the_path_and_half_the_turn():
    buffer = TransformBuffer()
    quarter = (0, 0, np.sin(np.pi / 4), np.cos(np.pi / 4))
    buffer.set("odom", "base", np.eye(4), 0)
    buffer.set("odom", "base", transform((2, 0, 0), quarter), S)
    eighth = (0, 0, np.sin(np.pi / 8), np.cos(np.pi / 8))
    np.testing.assert_allclose(
        buffer.lookup("odom", "base", S // 2), transform((1, 0, 0), eighth), atol=1e-12
    )


def tree():
    buffer = TransformBuffer()
    buffer.set("odom", "base", pose(1), 10 * S)
    buffer.set("odom", "base", pose(2), 11 * S)
    buffer.set("base", "cam", pose(3))
    buffer.set("world", "drone", pose(4))
    return buffer


@pytest.mark.parametrize(
    ("target", "source", "stamp_ns", "words"),
    [
        ("base", "lidar", 10 * S, ["'lidar' does not exist", "base, cam", "frames."]),
        ("base", "drone", 10 * S, ["different roots", "'world'", "'odom'", "connects"]),
        ("odom", "cam", 12 * S, ["1.000 s after the newest", "'odom' -> 'base'", "same clock"]),
        ("odom", "cam", 9 * S, ["1.000 s before the oldest", "'odom' -> 'base'"]),
        ("cam", "", 0, ["empty name", "header.frame_id"]),
    ],
)
def test_errors_name_the_frames_and_the_cure(target, source, stamp_ns, words):
    with pytest.raises(TransformError) as caught:
        tree().lookup(target, source, stamp_ns)
    for word in words:
        assert word in str(caught.value)


def test_a_gap_is_not_bridged():
    buffer = TransformBuffer(max_bracket_s=0.5)
    buffer.set("odom", "base", pose(1), 0)
    buffer.set("odom", "base", pose(2), S)
    with pytest.raises(TransformError, match=r"1\.000 s apart, at most 0\.5 s"):
        buffer.lookup("odom", "base", S // 2)
    np.testing.assert_allclose(buffer.lookup("odom", "base", S), pose(2), atol=1e-12)


def test_an_empty_buffer_says_that_nothing_came():
    with pytest.raises(TransformError, match="nothing came on /tf"):
        TransformBuffer().lookup("base", "cam", 0)


def test_a_lone_frame_is_not_identity_unless_it_exists():
    with pytest.raises(TransformError, match="'cam' does not exist"):
        TransformBuffer().lookup("cam", "cam", 0)
    np.testing.assert_array_equal(tree().lookup("cam", "cam", 0), np.eye(4))


def test_loops_and_broken_numbers_are_refused():
    buffer = tree()
    with pytest.raises(TransformError, match="loop"):
        buffer.set("cam", "odom", pose(5))
    with pytest.raises(TransformError, match="loop"):
        buffer.set("cam", "cam", pose(5))
    with pytest.raises(TransformError, match="NaN"):
        buffer.set("odom", "base", np.full((4, 4), np.nan), 11 * S)


def test_old_samples_leave_and_a_restart_forgets_the_former_run():
    buffer = TransformBuffer(keep_s=2.0, max_bracket_s=10.0)
    for second in range(6):
        buffer.set("odom", "base", pose(second), second * S)
    with pytest.raises(TransformError, match="before the oldest"):
        buffer.lookup("odom", "base", 2 * S)
    buffer.set("odom", "base", pose(9), 0)  # five seconds back: the bag began again
    with pytest.raises(TransformError, match="after the newest"):
        buffer.lookup("odom", "base", 5 * S)


def test_a_late_sample_is_sorted_in():
    buffer = TransformBuffer()
    for ms, seed in ((0, 1), (200, 2), (100, 3)):
        buffer.set("odom", "base", pose(seed), ms * S // 1000)
    np.testing.assert_allclose(buffer.lookup("odom", "base", S // 10), pose(3), atol=1e-12)


def test_clearing_keeps_what_is_static():
    buffer = tree()
    buffer.clear_timed()
    np.testing.assert_allclose(buffer.lookup("base", "cam", 0), pose(3), atol=1e-12)
    with pytest.raises(TransformError):
        buffer.lookup("odom", "base", 10 * S)


def test_a_lookup_waits_for_data_that_is_on_its_way():
    buffer = TransformBuffer()
    late = threading.Timer(0.05, lambda: buffer.set("base", "cam", pose(1)))
    late.start()
    np.testing.assert_allclose(buffer.lookup("base", "cam", 0, timeout_s=30), pose(1), atol=1e-12)
    late.join()


# --- against a slow reference -----------------------------------------------------------------


def slow_pose(samples, stamp):
    """Interpolation by scipy over all samples of one frame."""
    stamps = sorted(samples)
    T = np.eye(4)
    if len(stamps) == 1:
        return samples[stamps[0]]
    rotations = Rotation.from_matrix(np.stack([samples[s][:3, :3] for s in stamps]))
    T[:3, :3] = Slerp(stamps, rotations)([stamp]).as_matrix()[0]
    T[:3, 3] = [
        np.interp(stamp, stamps, [samples[s][axis, 3] for s in stamps]) for axis in range(3)
    ]
    return T


def slow_lookup(frames, target, source, stamp):
    """Product along the path that a breadth-first search over all links finds."""
    links = {}
    for child, (parent, samples) in frames.items():
        T = slow_pose(samples, stamp)
        links.setdefault(child, {})[parent] = T
        links.setdefault(parent, {})[child] = np.linalg.inv(T)
    reached, queue = {source: np.eye(4)}, [source]
    while queue:
        frame = queue.pop(0)
        for neighbour, T_neighbour_frame in links.get(frame, {}).items():
            if neighbour not in reached:
                reached[neighbour] = T_neighbour_frame @ reached[frame]
                queue.append(neighbour)
    return reached.get(target)


@st.composite
def forests(draw):
    """Frame i hangs on an earlier frame or is a root; static or with samples at 0..4 s."""
    frames = {}
    for i in range(1, draw(st.integers(2, 7))):
        parent = draw(st.integers(-1, i - 1))
        if parent < 0:
            continue
        is_static = draw(st.booleans())
        stamps = [0] if is_static else [0, *sorted(draw(st.sets(st.integers(1, 3)))), 4]
        seeds = draw(st.lists(st.integers(0, 10_000), min_size=len(stamps), max_size=len(stamps)))
        frames[f"f{i}"] = (
            f"f{parent}",
            {s * S: pose(seed) for s, seed in zip(stamps, seeds, strict=True)},
        )
    return frames


@given(forests(), st.integers(0, 6), st.integers(0, 6), st.floats(0, 4))
def test_lookups_agree_with_the_slow_reference(frames, target, source, seconds):
    buffer = TransformBuffer(max_bracket_s=10)
    for child, (parent, samples) in frames.items():
        for stamp_ns, T in samples.items():
            buffer.set(parent, child, T, None if len(samples) == 1 else stamp_ns)
    asked = (f"f{target}", f"f{source}", round(seconds * S))
    exists = {*frames, *(parent for parent, _ in frames.values())}
    expected = slow_lookup(frames, *asked) if {asked[0], asked[1]} <= exists else None
    if expected is None:
        with pytest.raises(TransformError):
            buffer.lookup(*asked)
    else:
        np.testing.assert_allclose(buffer.lookup(*asked), expected, atol=1e-9)
