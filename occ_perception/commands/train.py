"""`occ train`: train a system on bags."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro
import yaml
from rich.console import Console
from rich.table import Table
from tyro.conf import AvoidSubcommands, Positional, arg

from occ_perception.commands.camera_options import unclear_cameras
from occ_perception.core.errors import ConfigError
from occ_training.recipes.catalog import RECIPES, find_trainable
from occ_training.recipes.preset import Preset, with_steps
from occ_training.recipes.request import Request

DESCRIPTION = """Train a system on bags.

Examples:
  occ train vlscene --data bags/kitti_00 bags/kitti_01 --layers layers --output runs/vlscene
  occ train vlscene --preset nano --teacher toy --data world/train/* --output runs/nano
  occ train vlscene ... --resume            (goes on where the run was stopped or killed)
  occ train vlscene ... --dry-run           (one step: sizes, time, memory; writes nothing)
  accelerate launch -m occ_perception.cli train vlscene ...       (several GPUs)

Every value of the preset can be changed: --training.rate 2e-4, --loop.batch-size 4,
or in a YAML file of the same structure with --config. What is listed below belongs to one system
and preset; for another ask `occ train SYSTEM --preset PRESET --help`. At the end the weights,
averaged if the preset averages, lie in OUTPUT/weights.safetensors."""


PAIR_OPTIONS = "--training.topics.left LEFT --training.topics.right RIGHT (topics)"

AnyPreset = TypeVar("AnyPreset", bound=Preset)


@dataclass(frozen=True)
class TrainOptions(Generic[AnyPreset]):
    """Train a system on bags.

    Attributes:
        system: System to train.
        data: Bags to train on.
        output: Folder of the run: checkpoints, curves, log, weights; in place of loop.output.
        preset: Network and training to start from.
        layers: Folder with label layers (`occ label`), named like the bags; none = without.
        val: Bags to score after every epoch; none = no scores.
        teacher: Runs beside the training: a converted file of the system's teacher, or "toy" in the
            procedural world; empty = label layers named in topics, or no teacher.
        steps: Length in changes of the weights, to which a cosine is stretched; 0 = as the preset
            says. (--loop.steps only ends sooner.)
        config: YAML file with values that differ from the preset's.
        resume: Go on with the run in the output folder.
        dry_run: Do one step, print sizes, time and memory, write nothing.
        chosen: The preset, value by value.
    """

    system: Annotated[Positional[str], arg(metavar="SYSTEM")]
    data: tuple[Path, ...]
    output: Path
    chosen: Annotated[AnyPreset, arg(name="")]
    preset: str = "published"
    layers: Path | None = None
    val: tuple[Path, ...] = ()
    teacher: str = ""
    steps: int = 0
    config: Path | None = None
    resume: bool = False
    dry_run: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run `occ train`."""
    given = list(arguments) or ["--help"]
    defaults = _defaults(given)
    options = tyro.cli(
        TrainOptions[type(defaults.chosen)],
        default=dataclasses.replace(defaults, data=tyro.MISSING, output=tyro.MISSING),
        prog="occ train",
        description=f"{DESCRIPTION}\n\nSystems: {', '.join(RECIPES)}. Presets of "
        f"{defaults.system}: {', '.join(find_trainable(defaults.system).presets)}.",
        args=given,
        config=(AvoidSubcommands,),
    )
    return run(options, Console(highlight=False, stderr=True))


def _defaults(given: Sequence[str]) -> TrainOptions[Any]:
    """Options with the values of the preset, file and length that the command line names."""
    system = next((word for word in given if word in RECIPES), given[0])
    if system.startswith("-"):
        system = next(iter(RECIPES))
    presets = find_trainable(system).presets
    name, steps = _value(given, "--preset", "published"), _value(given, "--steps", "0")
    if name not in presets:
        raise ConfigError(f"there is no preset '{name}'; available: {', '.join(presets)}")
    preset = presets[name](Path("run"))
    if steps.isdecimal() and int(steps):
        preset = with_steps(preset, int(steps))
    file = _value(given, "--config", "")
    if file:
        preset = overridden(preset, _yaml(Path(file)), file)
    return TrainOptions(system, (), Path("run"), preset)


def _value(given: Sequence[str], option: str, default: str) -> str:
    for word, following in zip(given, [*given[1:], ""], strict=True):
        if word == option:
            return following
        if word.startswith(f"{option}="):
            return word.removeprefix(f"{option}=")
    return default


def _yaml(path: Path) -> Mapping[str, Any]:
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"'{path}' cannot be read: {error}") from None
    if not isinstance(values, Mapping):
        raise ConfigError(f"'{path}' must hold values by name, as the preset has them")
    return values


def overridden(config: Any, values: Mapping[str, Any], where: str) -> Any:
    """A configuration with some values changed.

    Raises:
        ConfigError: A name does not exist.
    """
    names = {f.name for f in dataclasses.fields(config)}
    strangers = values.keys() - names
    if strangers:
        raise ConfigError(
            f"{where}: unknown values {', '.join(sorted(strangers))}; there are "
            f"{', '.join(sorted(names))}"
        )
    changes = {}
    for name, value in values.items():
        old = getattr(config, name)
        if dataclasses.is_dataclass(old) and isinstance(value, Mapping):
            value = overridden(old, value, f"{where}: {name}")
        elif isinstance(old, tuple) and isinstance(value, list):
            value = tuple(value)
        elif isinstance(old, Path):
            value = Path(value)
        changes[name] = value
    return dataclasses.replace(config, **changes)


def run(options: TrainOptions, console: Console) -> int:
    """Train.

    Raises:
        OccError: Bags, weights or checkpoints cannot be used.
    """
    from occ_training.data.bag_scene import Bags
    from occ_training.engine.trainer import Trainer
    from occ_training.recipes.export import export_weights

    preset = dataclasses.replace(
        options.chosen, loop=dataclasses.replace(options.chosen.loop, output=options.output)
    )
    layers = options.layers
    bags = [Bags(path, (layers / path.name,) if layers else ()) for path in options.data]
    trainable = find_trainable(options.system)
    with unclear_cameras(PAIR_OPTIONS):
        recipe = trainable.build(preset, Request(bags, options.val, options.teacher))
    trainer = Trainer(recipe, preset.loop)
    console.quiet = not trainer.leads
    _describe(trainer, recipe, console)
    if options.dry_run:
        return _dry_run(trainer, console)
    if options.resume:
        is_resumed = trainer.resume()
        console.print(f"goes on at step {trainer.step}" if is_resumed else "nothing to resume")
    elif trainer.folder.newest() is not None:
        raise ConfigError(
            f"'{options.output}' holds a run already: give --resume or another --output"
        )
    trainer.fit()
    if not trainer.leads:
        return 0
    about = trainable.checkpoint(preset.network)
    target = export_weights(trainer.folder, about, options.output / "weights.safetensors")
    console.print(f"weights: {target}")
    return 0


def _describe(trainer: Any, recipe: Any, console: Console) -> None:
    values = sum(p.numel() for p in recipe.network.parameters())
    table = Table(show_header=False, title="training", title_justify="left")
    table.add_row("samples", str(len(recipe.dataset)))
    table.add_row("parameters", f"{values / 1e6:.2f} M")
    table.add_row("steps", f"{trainer.total_steps} ({trainer.epoch_steps} per epoch)")
    config = trainer.config
    table.add_row("batch", f"{config.batch_size} x {config.accumulate}, {config.precision}")
    table.add_row("processes", str(trainer.settings["processes"]))
    dropped = {s.name: s.dropped for s in recipe.dataset.source.scenes if s.dropped}
    for name, reasons in dropped.items():
        table.add_row(f"left out of {name}", ", ".join(f"{n} ({r})" for r, n in reasons.items()))
    console.print(table)
    for note in recipe.notes:
        console.print(note, markup=False, soft_wrap=True)
    if warning := recipe.config.get("warning"):
        console.print(warning, style="bold red")


def _dry_run(trainer: Any, console: Console) -> int:
    start = time.perf_counter()
    terms, lap, memory_gb = trainer.try_one_step()
    seconds = time.perf_counter() - start
    for name, value in terms.items():
        console.print(f"  {name:>22} {value:.4f}")
    console.print(
        f"one step: {seconds:.1f} s, {lap['data_wait']:.0%} of it waiting for data, "
        f"{memory_gb:.1f} GB; nothing was written"
    )
    return 0
