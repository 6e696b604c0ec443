"""`occ train`: train a system on bags."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
import yaml
from rich.console import Console
from rich.table import Table
from tyro.conf import AvoidSubcommands, Positional, arg

from occ_perception.core.errors import ConfigError
from occ_training.recipes.vlscene import PRESETS, Preset, with_steps

DESCRIPTION = """Train a system on bags with voxel truth.

Examples:
  occ train vlscene --data bags/kitti_00 bags/kitti_01 --layers layers --output runs/vlscene
  occ train vlscene --preset nano --teacher toy --data world/train/* --output runs/nano
  occ train vlscene ... --resume            (goes on where the run was stopped or killed)
  occ train vlscene ... --dry-run           (one step: sizes, time, memory; writes nothing)
  accelerate launch -m occ_perception.cli train vlscene ...       (several GPUs)

Every value of the preset can be changed: --training.rate 2e-4, --loop.batch-size 4,
or in a YAML file of the same structure with --config. At the end the weights, averaged if the
preset averages, lie in OUTPUT/weights.safetensors."""


@dataclass(frozen=True)
class TrainOptions:
    """Train a system on bags with voxel truth.

    Attributes:
        system: System to train.
        data: Bags to train on.
        output: Folder of the run.
        preset: Network and training to start from.
        layers: Folder with label layers, named like the bags.
        val: Bags to score after every epoch.
        teacher: Runs beside the training: a converted LSeg file, or "toy" in the procedural world;
            empty = label layers named in topics, or no teacher.
        steps: Changes of the weights; 0 = as the preset says.
        config: YAML file with values that differ from the preset's.
        resume: Go on with the run in the output folder.
        dry_run: Do one step, print sizes, time and memory, write nothing.
        chosen: The preset, value by value.
    """

    system: Positional[Literal["vlscene"]]
    data: tuple[Path, ...]
    output: Path
    preset: Literal["published", "nano"] = "published"
    layers: Path | None = None
    val: tuple[Path, ...] = ()
    teacher: str = ""
    steps: int = 0
    config: Path | None = None
    resume: bool = False
    dry_run: bool = False
    chosen: Annotated[Preset, arg(name="")] = field(
        default_factory=lambda: PRESETS["published"](Path("run"))
    )


def main(arguments: Sequence[str]) -> int:
    """Run `occ train`."""
    given = list(arguments) or ["--help"]
    options = tyro.cli(
        TrainOptions,
        default=dataclasses.replace(_defaults(given), data=tyro.MISSING, output=tyro.MISSING),
        prog="occ train",
        description=DESCRIPTION,
        args=given,
        config=(AvoidSubcommands,),
    )
    return run(options, Console(highlight=False, stderr=True))


def _defaults(given: Sequence[str]) -> TrainOptions:
    """Options with the values of the preset, file and length that the command line names."""
    name, steps = _value(given, "--preset", "published"), _value(given, "--steps", "0")
    if name not in PRESETS:
        raise ConfigError(f"there is no preset '{name}'; available: {', '.join(PRESETS)}")
    preset = PRESETS[name](Path("run"))
    if steps.isdecimal() and int(steps):
        preset = with_steps(preset, int(steps))
    file = _value(given, "--config", "")
    if file:
        preset = overridden(preset, _yaml(Path(file)), file)
    return TrainOptions("vlscene", (), Path("run"), chosen=preset)


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
    from occ_training.recipes.vlscene import build_recipe
    from occ_training.recipes.vlscene_export import export_weights
    from occ_training.recipes.vlscene_validation import Validation

    preset = dataclasses.replace(
        options.chosen, loop=dataclasses.replace(options.chosen.loop, output=options.output)
    )
    preset = with_class_images(preset, options)
    layers = options.layers
    bags = [Bags(path, (layers / path.name,) if layers else ()) for path in options.data]
    validate = Validation(preset, options.val) if options.val else None
    recipe = build_recipe(preset, bags, _teacher(options, preset), validate)
    trainer = Trainer(recipe, preset.loop)
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
    target = export_weights(trainer.folder, preset.network, options.output / "weights.safetensors")
    console.print(f"weights: {target}")
    return 0


def with_class_images(preset: Preset, options: TrainOptions) -> Preset:
    """The stand-in teacher looks at class images: those of the left camera, if none are named."""
    topics = preset.training.topics
    if options.teacher != "toy" or topics.classes:
        return preset
    from occ_training.recipes.vlscene_data import class_topic, stereo_topics

    left, _ = stereo_topics(options.data, topics)
    topics = dataclasses.replace(topics, classes=class_topic(left))
    training = dataclasses.replace(preset.training, topics=topics)
    return dataclasses.replace(preset, training=training)


def _teacher(options: TrainOptions, preset: Preset) -> Any:
    if not options.teacher:
        return None
    if options.teacher == "toy":
        from occ_training.labels.toy import ToyTeacher

        return ToyTeacher(preset.network.teacher_channels, preset.network.stride)
    import torch

    from occ_training.labels.lseg import LSegConfig, load_lseg

    on_gpu = torch.cuda.is_available() and preset.loop.device != "cpu"
    config = LSegConfig(published_slips=preset.network.published_slips)
    precision = "fp16" if on_gpu else "fp32"
    return load_lseg(Path(options.teacher), config, "cuda" if on_gpu else "cpu", precision)


def _describe(trainer: Any, recipe: Any, console: Console) -> None:
    values = sum(p.numel() for p in recipe.network.parameters())
    table = Table(show_header=False, title="training", title_justify="left")
    table.add_row("samples", str(len(recipe.dataset)))
    table.add_row("parameters", f"{values / 1e6:.2f} M")
    table.add_row("steps", f"{trainer.total_steps} ({trainer.epoch_steps} per epoch)")
    config = trainer.config
    table.add_row("batch", f"{config.batch_size} x {config.accumulate}, {config.precision}")
    dropped = {s.name: s.dropped for s in recipe.dataset.source.scenes if s.dropped}
    for name, reasons in dropped.items():
        table.add_row(f"left out of {name}", ", ".join(f"{n} ({r})" for r, n in reasons.items()))
    console.print(table)


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
