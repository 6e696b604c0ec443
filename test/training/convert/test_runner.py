import errno
import json
import os
import signal
from dataclasses import dataclass

import numpy as np
import pytest
from training.convert.small_trees import kitti_frames, write_kitti

from occ_perception.bags.reader import BagReader
from occ_perception.bags.writer import BagWriter
from occ_perception.core.errors import BagError
from occ_training.convert.content import Content, Options
from occ_training.convert.kitti import find_sequences
from occ_training.convert.messages import TEXT, Outgoing
from occ_training.convert.report import DatasetError, Report
from occ_training.convert.runner import convert


@dataclass(frozen=True)
class Counting:
    """A scene of texts; those with a number in `damaged` cannot be read."""

    name: str
    split: str = ""
    count: int = 3
    damaged: tuple[int, ...] = ()

    def read(self, options, report):
        content = Content()
        for number in range(self.count):
            content.at(1000 - number, self.text, number)
        return content

    def text(self, number):
        if number in self.damaged:
            raise DatasetError(f"file {number} is damaged")
        return [Outgoing("/text", TEXT, {"data": str(number)})]


def test_events_are_written_in_the_order_of_time(tmp_path):
    (report,) = convert([Counting("a")], tmp_path, Options())
    with BagReader(tmp_path / "a") as bag:
        messages = list(bag.messages())
        texts = [bag.decode(m).data for m in messages]
    assert texts == ["2", "1", "0"]
    assert [m.time_ns for m in messages] == [998, 999, 1000]
    assert report.counts == {"/text": 3}


def test_one_bad_scene_does_not_stop_the_others(tmp_path):
    scenes = [Counting("bad", damaged=(0, 1, 2)), Counting("half", damaged=(1,)), Counting("good")]
    reports = {r.scene: r for r in convert(scenes, tmp_path, Options())}
    assert [reports[n].failed for n in ("bad", "half", "good")] == [True, False, False]
    assert reports["half"].counts == {"/text": 2}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["good", "half", "inventory.json"]


def test_resume_makes_only_what_is_not_there(tmp_path):
    scenes = [Counting("a"), Counting("b", damaged=(0,)), Counting("c")]
    list(convert(scenes[:2], tmp_path, Options()))
    times = {n: (tmp_path / n / "metadata.yaml").stat().st_mtime_ns for n in "ab"}
    reports = list(convert(scenes, tmp_path, Options(), resume=True))
    again = {n: (tmp_path / n / "metadata.yaml").stat().st_mtime_ns for n in "ab"}
    assert again["a"] == times["a"]
    assert again["b"] > times["b"]  # it was not whole: the data may be mended by now
    assert sorted(r.scene for r in reports) == ["a", "b", "c"]
    assert next(r for r in reports if r.scene == "a").counts == {"/text": 3}


def test_resume_sees_another_way_of_converting(tmp_path):
    list(convert([Counting("a")], tmp_path, Options()))
    before = (tmp_path / "a/metadata.yaml").stat().st_mtime_ns
    list(convert([Counting("a")], tmp_path, Options(raw_images=True), resume=True))
    assert (tmp_path / "a/metadata.yaml").stat().st_mtime_ns > before


def test_several_processes_make_the_same_bags(tmp_path):
    for number in ("30", "31"):
        write_kitti(tmp_path, kitti_frames(2, voxels=False), number)
    scenes = find_sequences(tmp_path / "dataset", semantic=False)
    one = list(convert(scenes, tmp_path / "one", Options(), jobs=1))
    two = sorted(convert(scenes, tmp_path / "two", Options(), jobs=2), key=lambda r: r.scene)
    assert one == two
    for scene in scenes:
        paths = (tmp_path / folder / scene.name for folder in ("one", "two"))
        with BagReader(next(paths)) as a, BagReader(next(paths)) as b:
            assert list(a.messages()) == list(b.messages())


def test_a_full_disk_leaves_no_bag_and_stops(tmp_path, monkeypatch):
    written = BagWriter.write

    def full(self, topic, time_ns, data):
        if self.path.name == "b" and time_ns == 999:
            cause = OSError(errno.ENOSPC, "No space left on device")
            raise BagError(f"the disk is full, bag {self.path} was not written") from cause
        written(self, topic, time_ns, data)

    monkeypatch.setattr(BagWriter, "write", full)
    done = []
    with pytest.raises(BagError, match="disk is full"):
        for report in convert([Counting(n) for n in "abc"], tmp_path, Options()):
            done.append(report.scene)
    assert done == ["a"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "inventory.json"]


@dataclass(frozen=True)
class Dying(Counting):
    """A scene whose process is killed."""

    def text(self, number):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_told(tmp_path):
    scenes = [Dying("a"), Dying("b")]
    with pytest.raises(DatasetError, match="was killed"):
        list(convert(scenes, tmp_path, Options(), jobs=2))
    assert not (tmp_path / "a").exists()


def test_a_damaged_inventory_is_named(tmp_path):
    (tmp_path / "inventory.json").write_text("{")
    with pytest.raises(DatasetError, match=r"inventory\.json is damaged"):
        list(convert([Counting("a")], tmp_path, Options(), resume=True))


def test_progress_and_inventory(tmp_path):
    told = []
    list(convert([Counting("a")], tmp_path, Options(), progress=lambda *news: told.append(news)))
    assert told == [("a", 1, 3), ("a", 2, 3), ("a", 3, 3)]
    entry = json.loads((tmp_path / "inventory.json").read_text())["scenes"]["a"]
    assert entry["counts"] == {"/text": 3}


def test_many_problems_are_counted():
    report = Report("a")
    for number in range(30):
        report.problem(f"file {number}")
    assert len(report.problems) == 21
    assert report.problems[-1] == "and 10 more problems"
    report.problem("file 3")
    assert report.problems[-1] == "and 10 more problems"


def test_numbers_of_a_random_order_are_told_as_ranges():
    from occ_training.convert.files import ranges

    assert ranges([1, 2, 3, 7]) == "1-3, 7"
    assert ranges(list(np.arange(0, 20, 2))) == "0, 2, 4, 6, 8, ..."
