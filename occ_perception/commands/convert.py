"""`occ convert`: a data set on disk becomes bags."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tyro.conf import Positional, arg

from occ_perception.core.errors import ConfigError

DESCRIPTION = """Turn a data set into bags (MCAP), one per drive or scene.

Images keep their bytes. Nothing is invented: what the data set lacks is absent and listed. A
damaged file is named and left out, the rest is converted. An inventory.json lies beside the bags.

Examples:
  occ convert semantickitti ~/kitti/dataset bags --split val --jobs 4
  occ convert kitti360 ~/KITTI-360 bags --resume
  occ convert occ3d ~/nuscenes bags --occ3d ~/Occ3D --scenes scene-0061
  occ convert nuscenes ~/nuscenes bags --split val --retrieval ~/retrieval_benchmark

Exit code: 0 everything, 3 some files or scenes were damaged, 2 nothing could be converted."""

PARTLY, NOTHING = 3, 2
DataSet = Literal[
    "kitti", "semantickitti", "kitti-raw", "kitti360", "sscbench", "nuscenes", "occ3d"
]


@dataclass(frozen=True)
class ConvertOptions:
    """What to convert, and how.

    Attributes:
        dataset: Which data set it is.
        source: Its root folder, as it is unpacked.
        out: Folder for the bags.
        jobs: Processes; scenes are shared out among them.
        split: Only scenes of this published split (train, val, test), or a text file whose lines
            begin with names of scenes or drives.
        scenes: Only these, named as in the data set (06, scene-0061) or by the names of their bags.
        resume: Leave out scenes whose bag is there and whole.
        raw_images: Write decoded images instead of the original PNG or JPEG bytes.
        poses: Folder with ORB-SLAM poses, instead of the data set's own (KITTI Raw, KITTI-360).
        epoch: Time of a KITTI sequence's first frame as a date, e.g. 2030-01-01T00:00:00 (UTC);
            the odometry set has relative times only. By default noon of the day of the recording.
        version: Folder of nuScenes' tables where there are several.
        infos: nuScenes info pickle to read instead of the tables; read without running anything.
        occ3d: Folder with Occ3D's gts/; by default the source itself.
        match: SSCBench's list of frames; by default the one in the source.
        retrieval: Folder of POP-3D's retrieval benchmark (nuScenes, Occ3D): also write there which
            scan of which bag each of its queries is about, for `occ eval langocc --queries`.
    """

    dataset: Positional[DataSet]
    source: Positional[Path]
    out: Positional[Path]
    jobs: Annotated[int, arg(aliases=["-j"])] = 1
    split: str | None = None
    scenes: tuple[str, ...] = ()
    resume: bool = False
    raw_images: bool = False
    poses: Path | None = None
    epoch: datetime | None = None
    version: str | None = None
    infos: Path | None = None
    occ3d: Path | None = None
    match: Path | None = None
    retrieval: Path | None = None


def main(arguments: Sequence[str]) -> int:
    """Run `occ convert`."""
    options = tyro.cli(
        ConvertOptions,
        prog="occ convert",
        description=DESCRIPTION,
        args=list(arguments) or ["--help"],
    )
    return run(options, Console(highlight=False, soft_wrap=True))


def run(options: ConvertOptions, console: Console) -> int:
    """Convert, show progress, print the inventory.

    Args:
        options: What and how.
        console: Where to.

    Returns:
        Exit code.

    Raises:
        OccError: Nothing of this data set at the source, or the disk is full.
    """
    from occ_training.convert.content import Options
    from occ_training.convert.notes import write_notes
    from occ_training.convert.runner import convert

    if options.jobs < 1:
        raise ConfigError(f"--jobs {options.jobs}: at least one process is needed")
    there = find_scenes(options)
    tell_places(there, options, console)
    scenes = chosen(there, options)
    settings = Options(raw_images=options.raw_images, poses=options.poses)
    reports = []
    with progress_bars(console, len(scenes)) as (bars, tell):
        for report in convert(
            scenes,
            options.out,
            settings,
            jobs=options.jobs,
            resume=options.resume,
            progress=tell,
        ):
            reports.append(report)
            bars.update(bars.task_ids[0], completed=len(reports))
    write_notes(options.out, options.dataset)
    show_inventory(console, reports)
    if all(report.failed for report in reports):
        return NOTHING
    return PARTLY if any(report.problems for report in reports) else 0


def tell_places(scenes: Sequence, options: ConvertOptions, console: Console) -> None:
    """Write where the scans of the retrieval benchmark are in the bags, if there is one.

    Raises:
        ConfigError: The data set is another one.
        DatasetError: There is no benchmark.
    """
    from occ_training.convert.retrieval_places import write_places

    if options.retrieval is None:
        return
    if options.dataset not in ("nuscenes", "occ3d"):
        raise ConfigError(f"--retrieval is about nuScenes, not about {options.dataset}")
    known, asked = write_places(scenes, options.retrieval)
    console.print(f"retrieval: {known} of {asked} scans are in bags of these tables")


def find_scenes(options: ConvertOptions) -> list:
    """All scenes at the source.

    Raises:
        DatasetError: There is none.
    """
    from occ_training.convert import kitti, kitti360, kitti_raw, nuscenes_tables

    source = options.source
    if options.dataset in ("kitti", "semantickitti"):
        epoch_ns = options.epoch and int(options.epoch.replace(tzinfo=UTC).timestamp()) * 10**9
        semantic = options.dataset == "semantickitti"
        return kitti.find_sequences(source, semantic=semantic, epoch_ns=epoch_ns)
    if options.dataset == "kitti-raw":
        return kitti_raw.find_drives(source)
    if options.dataset == "kitti360":
        return kitti360.find_drives(source)
    if options.dataset == "sscbench":
        match = options.match or kitti360.find_match_list(source)
        return kitti360.find_drives(source, match_list=match)
    occ3d = (options.occ3d or source) if options.dataset == "occ3d" else None
    if options.infos is not None:
        return nuscenes_tables.scenes_of_infos(source, options.infos, occ3d=occ3d)
    return nuscenes_tables.find_scenes(source, occ3d=occ3d, version=options.version)


def chosen(scenes: Sequence, options: ConvertOptions) -> list:
    """The scenes that are asked for.

    Raises:
        ConfigError: None is left, or a name is not there.
    """
    kept = list(scenes)
    if options.scenes:
        kept = [s for s in kept if any(is_named(s.name, name) for name in options.scenes)]
        for name in options.scenes:
            if not any(is_named(scene.name, name) for scene in scenes):
                there = ", ".join(s.name for s in scenes[:20])
                raise ConfigError(f"there is no scene '{name}' at {options.source}; it has {there}")
    if options.split is not None:
        kept = in_split(kept, options.split)
    if not kept:
        raise ConfigError(f"no scene at {options.source} is in the split '{options.split}'")
    return kept


def is_named(scene: str, name: str) -> bool:
    """Whether a bag's name is this one, or ends in it."""
    return scene == name or scene.endswith(f"_{name}")


def in_split(scenes: Iterable, split: str) -> list:
    """Scenes of a published split, or those that a file names."""
    path = Path(split)
    if not path.is_file():
        return [scene for scene in scenes if scene.split == split]
    lines = path.read_text("utf-8").splitlines()
    names = {Path(line.split()[0]).name for line in lines if line.strip()}
    return [s for s in scenes if any(is_named(s.name, name) for name in names)]


@contextmanager
def progress_bars(console: Console, scenes: int):
    """One bar for the scenes, one for the scene at work."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        bars.add_task("scenes", total=scenes)
        current = bars.add_task("", total=None)

        def tell(scene: str, done: int, total: int) -> None:
            bars.update(current, description=scene, completed=done, total=total)

        yield bars, tell


def show_inventory(console: Console, reports: Sequence) -> None:
    """What came of each scene."""
    for report in reports:
        state = "[red]no bag[/]" if report.failed else f"{sum(report.counts.values())} messages"
        console.print(f"[bold]{report.scene}[/]: {state}")
        table = Table.grid(padding=(0, 2))
        for topic, count in sorted(report.counts.items()):
            table.add_row("   ", topic, str(count))
        if report.counts:
            console.print(table)
        for what in report.absent:
            console.print(f"    [dim]not in the data set: {what}[/]")
        for sentence in report.problems:
            console.print(f"    [yellow]problem:[/] {sentence}", markup=True)
    problems = sum(len(report.problems) for report in reports)
    console.print(f"{sum(not r.failed for r in reports)} bags, {problems} problems")
