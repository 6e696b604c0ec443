"""Converts the scenes of a data set, one bag each, and keeps an inventory of what came of it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from occ_perception.bags.topics import TopicQos
from occ_perception.bags.writer import BagWriter
from occ_perception.core.errors import BagError, OccError
from occ_training.convert.content import Content, Options, Scene
from occ_training.convert.messages import TF_MESSAGE, TF_STATIC, Outgoing, transform_fields
from occ_training.convert.report import DatasetError, Report

VERSION = 1  # raised whenever a bag of the same data would come out different
INVENTORY = "inventory.json"
LATCHED = TopicQos(latched=True, depth=1)

Progress = Callable[[str, int, int], None]


def convert_scene(
    scene: Scene, out: Path, options: Options, progress: Progress | None = None
) -> Report:
    """Convert one scene; the bag appears under its name when it is whole.

    Args:
        scene: The scene.
        out: Folder in which the bag is made.
        options: How.
        progress: Told the scene's name, events done and events in all.

    Returns:
        What came of it. Damaged files are left out and named in it; without calibration, times or
        any message there is no bag.
    """
    report = Report(scene.name, split=scene.split)
    try:
        content = scene.read(options, report)
        if not content.events:
            raise DatasetError(f"scene {scene.name} holds nothing to convert")
        with BagWriter(out / scene.name, overwrite=True) as bag:
            _write(bag, content, report, progress)
            report.counts = dict(bag.counts)
    except OccError as error:
        if is_disk_full(error):
            raise
        report.failed, report.counts = True, {}
        report.problem(str(error))
    return report


def _write(bag: BagWriter, content: Content, report: Report, progress: Progress | None) -> None:
    events = sorted(content.events, key=lambda event: event.stamp_ns)
    _write_static(bag, content, events[0].stamp_ns)
    made = 0
    for done, event in enumerate(events, start=1):
        outgoing: Sequence[Outgoing] = ()
        with report.tolerating():
            outgoing = event.make()
        _write_all(bag, outgoing, event.stamp_ns)
        made += bool(outgoing)
        if progress is not None:
            progress(report.scene, done, len(events))
    if not made:
        raise DatasetError(f"scene {report.scene}: every file is damaged, there is no bag")


def _write_static(bag: BagWriter, content: Content, stamp_ns: int) -> None:
    links = [transform_fields(k.T, stamp_ns, k.parent, k.child) for k in content.links]
    if links:
        bag.write_message(TF_STATIC, TF_MESSAGE, stamp_ns, {"transforms": links})
    for message in content.latched:
        bag.add_topic(message.topic, message.msgtype, qos=LATCHED)
        bag.write_message(message.topic, message.msgtype, stamp_ns, message.fields)


def _write_all(bag: BagWriter, outgoing: Sequence[Outgoing], stamp_ns: int) -> None:
    for message in outgoing:
        bag.write_message(message.topic, message.msgtype, stamp_ns, message.fields)


def is_disk_full(error: BaseException) -> bool:
    """Whether a full disk is at the bottom of it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__
    return cause is not None and cause.errno in (errno.ENOSPC, errno.EDQUOT)


class Inventory:
    """`inventory.json` beside the bags: what each of them came from and what was missing."""

    def __init__(self, out: Path) -> None:
        self.path = out / INVENTORY
        self.entries: dict[str, dict[str, object]] = {}
        if self.path.is_file():
            try:
                self.entries = json.loads(self.path.read_text("utf-8"))["scenes"]
            except (ValueError, KeyError, TypeError) as error:
                raise DatasetError(
                    f"{self.path} is damaged: remove it; the scenes are converted anew"
                ) from error

    def is_done(self, scene: Scene, fingerprint: str) -> bool:
        """Whether a bag without any problem was made of the same scene in the same way."""
        entry = self.entries.get(scene.name, {})
        whole = entry.get("fingerprint") == fingerprint and not entry.get("problems")
        return whole and (self.path.parent / scene.name / "metadata.yaml").is_file()

    def report_of(self, name: str) -> Report:
        """The report of an earlier run."""
        known = Report.__dataclass_fields__
        return Report(**{k: v for k, v in self.entries[name].items() if k in known})

    def add(self, report: Report, fingerprint: str) -> None:
        """Note a scene, at once and atomically."""
        self.entries[report.scene] = {**report.as_json(), "fingerprint": fingerprint}
        text = json.dumps({"scenes": dict(sorted(self.entries.items()))}, indent=1)
        part = self.path.with_suffix(".partial")
        try:
            part.write_text(text + "\n", "utf-8")
            os.replace(part, self.path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise BagError(f"{self.path} cannot be written: {error.strerror}") from error


def fingerprint(scene: Scene, options: Options) -> str:
    """Tells conversions apart that give different bags."""
    text = f"{VERSION} {scene!r} {options!r}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def convert(
    scenes: Sequence[Scene],
    out: Path,
    options: Options,
    *,
    jobs: int = 1,
    resume: bool = False,
    progress: Progress | None = None,
) -> Iterator[Report]:
    """Convert scenes, reporting each as it is done; one that fails does not stop the others.

    Args:
        scenes: What to convert.
        out: Folder for the bags and the inventory.
        options: How.
        jobs: Processes; scenes are shared out among them.
        resume: Leave out scenes whose bag is there, whole and made in the same way.
        progress: Told within each scene if jobs is 1.

    Raises:
        BagError: The disk is full or cannot be written; nothing half-written has a name.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BagError(f"{out} cannot be made ({error.strerror}): choose another place") from error
    inventory = Inventory(out)
    prints = {scene.name: fingerprint(scene, options) for scene in scenes}
    todo = []
    for scene in scenes:
        if resume and inventory.is_done(scene, prints[scene.name]):
            yield inventory.report_of(scene.name)
        else:
            todo.append(scene)
    for report in _reports(todo, out, options, jobs, progress):
        inventory.add(report, prints[report.scene])
        yield report


def _reports(
    scenes: Sequence[Scene], out: Path, options: Options, jobs: int, progress: Progress | None
) -> Iterator[Report]:
    if jobs <= 1 or len(scenes) <= 1:
        yield from (convert_scene(scene, out, options, progress) for scene in scenes)
        return
    # Fresh processes: torch and rich have threads, which a fork would not survive.
    context = get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(scenes)), mp_context=context) as pool:
        waiting = [pool.submit(convert_scene, scene, out, options) for scene in scenes]
        try:
            for future in as_completed(waiting):
                yield future.result()
        except BrokenProcessPool as error:
            raise DatasetError(
                "a process of the conversion was killed, as when memory runs out: "
                "convert again with --resume and fewer --jobs"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
