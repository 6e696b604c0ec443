"""Runs of a system: the processes of the launch plan, progress, and an end in the right order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from occ_perception.bags.reader import BagReader
from occ_perception.bags.writer import check_target
from occ_perception.commands.session import Session, wait_until
from occ_perception.commands.summary import Summary, summarize
from occ_perception.core.errors import BagError, ConfigError
from occ_perception.ros.launch_arguments import LaunchArguments
from occ_perception.ros.launch_plan import (
    ProcessSpec,
    dds_environment,
    find_inputs,
    node_name,
    plan,
)
from occ_perception.ros.watching import AnswerWatch
from occ_perception.systems.roles import ROLES, anchor_of
from occ_perception.weights.shipped import RANDOM

PLAYER, RECORDER, VIEWER = "bag_player", "bag_recorder", "rviz"
MAY_END = {PLAYER, VIEWER}
GREETING_S = 0.6  # nodes that run already are known after this time
QUIET_S = 60.0  # without --wait: after the bag, a node that says nothing for so long is done


def run_bag(
    system: str,
    arguments: LaunchArguments,
    console: Console,
    at_end: Callable[[AnswerWatch], None] | None = None,
) -> AnswerWatch:
    """Run a system on a bag until the bag and the work on it have ended.

    Args:
        system: Name of the system.
        arguments: What to start; names a bag.
        console: Shows progress and what the processes say.
        at_end: Called when the bag is answered and the node still runs.

    Returns:
        What the node said about the images.

    Raises:
        OccError: Something cannot be used, or a process ended before its time.
    """
    specs = prepared(system, arguments)
    count = count_sets(system, arguments)
    topic = f"/{node_name(system)}/latency"
    with (
        progress(console, count) as show,
        AnswerWatch(topic) as watch,
        Session(say(console)) as run,
    ):
        refuse_second_node(watch)

        def tick() -> None:
            show(len(watch.stamps))

        player = next(spec for spec in specs if spec.name == PLAYER)
        for spec in specs:
            if spec is not player:
                run.start(spec)
        # Processes may find each other seconds late: an answer given before would be lost here or
        # to the recorder.
        listeners = 2 if arguments.output else 1
        wait_until(run, lambda: watch.is_connected(listeners), MAY_END, tick)
        run.start(player)
        wait_until(run, lambda: not run.is_running(PLAYER), MAY_END, tick)
        if not arguments.wait:  # in lockstep the player has heard the last answer itself

            def is_quiet() -> bool:
                return len(watch.stamps) >= count or watch.silence_s > QUIET_S

            wait_until(run, is_quiet, MAY_END, tick)
        if at_end is not None:
            at_end(watch)
        end_in_order(run, specs)
        tick()
    return watch


def run_live(system: str, arguments: LaunchArguments, console: Console) -> None:
    """Run a system on live topics until Ctrl-C.

    Raises:
        OccError: Something cannot be used, or a process ended before its time.
    """
    specs = prepared(system, arguments)
    console.print(f"{system} runs; Ctrl-C ends it", style="dim")
    with Session(say(console)) as run:
        for spec in specs:
            run.start(spec)
        try:
            wait_until(run, lambda: False, MAY_END, lambda: None)
        except KeyboardInterrupt:
            end_in_order(run, specs)


def prepared(system: str, arguments: LaunchArguments) -> list[ProcessSpec]:
    """The processes to start, after a look at what would stop them at once.

    Raises:
        OccError: Bag, output or system cannot be used.
    """
    specs = plan(system, arguments)
    check_network(system, arguments)
    if arguments.output:
        check_target(Path(arguments.output), overwrite=arguments.overwrite)
    dds_environment()
    return specs


def check_network(system: str, arguments: LaunchArguments) -> None:
    """Look at preset and weights before anything is started or overwritten.

    Raises:
        ConfigError: The system has no such preset.
        WeightsError: The weights file or its side file is missing or damaged.
    """
    if arguments.preset:
        from occ_perception.systems.catalog import find_system

        presets = find_system(system).presets
        if arguments.preset not in presets:
            raise ConfigError(
                f"system '{system}' has no preset '{arguments.preset}'; available: "
                f"{', '.join(presets)}"
            )
    if arguments.weights not in ("", RANDOM):
        from occ_perception.weights.files import describe

        describe(Path(arguments.weights))


def refuse_second_node(watch: AnswerWatch) -> None:
    """See that no such node runs yet: its answers would pass for those of this run.

    Raises:
        ConfigError: There is one in this ROS domain.
    """
    time.sleep(GREETING_S)
    if watch.is_connected(1):
        raise ConfigError(
            f"somebody publishes {watch.topic} in this ROS domain already: end that node, or set "
            "another ROS_DOMAIN_ID for this run"
        )


def end_in_order(run: Session, specs: Sequence[ProcessSpec]) -> None:
    """End the recorder, then the node: what was said is written down first.

    Raises:
        ProcessError: One of them did not end well.
    """
    names = [spec.name for spec in specs]
    for name in sorted(names, key=lambda name: name != RECORDER):
        run.end(name)


def count_sets(system: str, arguments: LaunchArguments) -> int:
    """Images of the anchor camera in the bag, each of which wants an answer."""
    topic = find_inputs(system, arguments).images[anchor_of(ROLES[system])]
    with BagReader(arguments.bag) as bag:
        return bag.topics[topic].count


def report(output: Path, console: Console) -> Summary:
    """Print the tables of a finished run, read from its bag."""
    summary = summarize(output)
    console.print()
    console.print(summary.tables())
    return summary


def check_complete(summary: Summary, watch: AnswerWatch, output: str) -> None:
    """See that the recorder heard every answer that was heard here.

    Raises:
        BagError: It was not connected with the node in time; the bag is kept.
    """
    heard = watch.published + watch.dropped.total()
    recorded = summary.published + summary.dropped.total()
    if recorded < heard:
        raise BagError(
            f"bag {output} holds {recorded} of {heard} answers: the recorder found the node too "
            "late; run again, on a machine that is less busy"
        )


def tell_answers(watch: AnswerWatch, console: Console) -> None:
    """Print what became of the images, where no bag says it."""
    reasons = [f"{count} dropped ({reason})" for reason, count in watch.dropped.most_common()]
    console.print(", ".join([f"{watch.published} published", *reasons]), soft_wrap=True)


def say(console: Console) -> Callable[[str, str], None]:
    """Print lines of the processes under their names."""

    def print_line(name: str, line: str) -> None:
        console.print(Text.assemble((f"{name:>13} ", "cyan"), line), soft_wrap=True)

    return print_line


@contextmanager
def progress(console: Console, count: int) -> Iterator[Callable[[int], None]]:
    """A bar of answered sets."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("starting", total=count)

        def show(done: int) -> None:
            text = "answered" if done else "waiting for the first answer"
            bar.update(task, completed=done, description=text)

        yield show
