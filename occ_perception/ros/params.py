"""Parameters of a node from a tree of frozen dataclasses.

A field made by `setting` becomes the parameter `group.field` with type, default, description and
range. Names that nobody declared are errors, in the YAML file too. A running value changes only if
the whole tree accepts it.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast, get_type_hints

from occ_perception.core.errors import ConfigError

S = TypeVar("S")
Value = bool | int | float | str | tuple[str, ...] | tuple[float, ...]

# rcl and rclpy read these from the same YAML; they are nobody's typing error.
_FOREIGN = ("use_sim_time", "qos_overrides.", "start_type_description_service")


@dataclass(frozen=True)
class Rule:
    """What a parameter may be.

    Attributes:
        name: Full name, e.g. "output.max_markers".
        kind: bool, int, float, str, tuple[str, ...] or tuple[float, ...].
        default: Value where nobody says otherwise.
        description: One sentence with the unit.
        low: Smallest value of a number, or None.
        high: Largest value of a number, or None.
        choices: All allowed values of a string, or empty.
        is_live: May change while the node is configured.
    """

    name: str
    kind: Any
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    is_live: bool = False

    def read(self, value: object) -> Value:
        """Check a value and bring it into the field's type.

        Raises:
            ConfigError: It has another type or is out of range.
        """
        converted = self._converted(value)
        if isinstance(converted, float | int) and not self._is_in_range(converted):
            raise ConfigError(
                f"parameter '{self.name}' is {converted}, "
                f"it must be {self.range_text() or 'a finite number'}"
            )
        if self.choices and converted not in self.choices:
            raise ConfigError(
                f"parameter '{self.name}' is '{converted}', choose one of {', '.join(self.choices)}"
            )
        return converted

    def range_text(self) -> str:
        """The range in words, empty if there is none."""
        low = "" if self.low is None else f"at least {self.low:g}"
        high = "" if self.high is None else f"at most {self.high:g}"
        return " and ".join(filter(None, (low, high)))

    def _is_in_range(self, number: float) -> bool:
        above = self.low is None or number >= self.low
        return math.isfinite(number) and above and (self.high is None or number <= self.high)

    def _converted(self, value: object) -> Value:
        if self.kind is float and type(value) is int:
            return float(value)
        if self.kind in (bool, int, float, str):
            if type(value) is self.kind:
                return value  # type: ignore[return-value]
        elif value is None:  # what rcl makes of an empty list
            return ()
        elif isinstance(value, list | tuple) or hasattr(value, "tolist"):
            items = list(value)  # type: ignore[call-overload]
            if self.kind == tuple[str, ...] and all(isinstance(v, str) for v in items):
                return tuple(v for v in items if v)  # YAML cannot say "no strings" but by [""]
            if self.kind == tuple[float, ...] and all(type(v) in (int, float) for v in items):
                return tuple(float(v) for v in items)
        raise ConfigError(f"parameter '{self.name}' is {value!r}, it must be {self._kind_text()}")

    def _kind_text(self) -> str:
        texts = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
        if self.kind in texts:
            return texts[self.kind]
        return "a list of strings" if self.kind == tuple[str, ...] else "a list of numbers"


def setting(
    default: Value,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    is_live: bool = False,
) -> Any:
    """Dataclass field that becomes a parameter; see `Rule` for the arguments."""
    about = {"description": description, "low": low, "high": high}
    return dataclasses.field(
        default=default, metadata={**about, "choices": choices, "is_live": is_live}
    )


def rules(cls: type, prefix: str = "", defaults: object = None) -> Iterator[Rule]:
    """Rules of all settings in a tree of dataclasses, in order of definition.

    Args:
        cls: Root dataclass.
        prefix: In front of all names.
        defaults: Instance with the defaults; by default the root's own, so that it may choose
            other ones for its groups than they have by themselves.
    """
    defaults = cls() if defaults is None else defaults
    kinds = get_type_hints(cls)
    for item in dataclasses.fields(cls):
        kind, name = kinds[item.name], f"{prefix}{item.name}"
        default = getattr(defaults, item.name)
        if dataclasses.is_dataclass(kind):
            yield from rules(kind, f"{name}.", default)  # type: ignore[arg-type]
        else:
            yield Rule(name, kind, cast(Value, default), **item.metadata)


def build(cls: type[S], values: Mapping[str, object]) -> S:
    """A tree of settings from values by full name; what is not named keeps its default.

    Raises:
        ConfigError: A value is wrong, alone or together with others.
    """
    leaves = {rule.name: rule for rule in rules(cls)}
    read = {name: leaves[name].read(value) for name, value in values.items() if name in leaves}
    return cast(S, _filled(cls(), read, ""))


def _filled(defaults: Any, values: Mapping[str, Value], prefix: str) -> Any:
    """The tree with some of its leaves replaced; every group checks itself."""
    changes: dict[str, object] = {}
    for item in dataclasses.fields(defaults):
        name, default = f"{prefix}{item.name}", getattr(defaults, item.name)
        if dataclasses.is_dataclass(default):
            changes[item.name] = _filled(default, values, f"{name}.")
        elif name in values:
            changes[item.name] = values[name]
    return dataclasses.replace(defaults, **changes)


def refuse_unknown(given: Iterator[str] | list[str], known: list[str]) -> None:
    """Compare names from YAML or command line with those that exist.

    Raises:
        ConfigError: A name does not exist; near ones are proposed.
    """
    for name in sorted(given):
        if name in known or name.startswith(_FOREIGN):
            continue
        # A right word in the wrong group is as near as a misspelt one.
        same_word = [k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2]]
        near = same_word or difflib.get_close_matches(name, known, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        raise ConfigError(f"unknown parameter '{name}'; {hint}")


class Parameters:
    """The settings of a running node, kept in step with its ROS parameters."""

    def __init__(self, node: Any, cls: type[S]) -> None:
        """Declare a parameter for every setting.

        Args:
            node: rclpy node.
            cls: Root dataclass, made of groups and of fields by `setting`.

        Raises:
            ConfigError: A name in the YAML is unknown or a value is refused.
        """
        self._node = node
        self._cls: type[Any] = cls
        self._rules = {rule.name: rule for rule in rules(cls)}
        # rclpy ignores what nobody declares, so the overrides have to be asked themselves.
        overrides = node._parameter_overrides
        refuse_unknown(list(overrides), list(self._rules))
        given = {n: p.value for n, p in overrides.items() if n in self._rules}
        self.settings: Any = build(cls, given)
        for rule in self._rules.values():
            self._declare(rule)
        self._judge: Callable[[Any], object] | None = None
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    def freeze(self, judge: Callable[[Any], object]) -> None:
        """Let only live settings change from now on, and only to what `judge` does not refuse."""
        self._judge = judge

    def thaw(self) -> None:
        """Let every setting change again."""
        self._judge = None

    def _declare(self, rule: Rule) -> None:
        from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

        descriptor = ParameterDescriptor(
            name=rule.name,
            description=rule.description,
            additional_constraints=", ".join(rule.choices) or rule.range_text(),
            dynamic_typing=True,  # types are checked here: 1 may stand for 1.0, [] for no list
        )
        if rule.low is not None and rule.high is not None:
            if rule.kind is float:
                limits = FloatingPointRange(from_value=float(rule.low), to_value=float(rule.high))
                descriptor.floating_point_range = [limits]
            else:
                bounds = IntegerRange(from_value=int(rule.low), to_value=int(rule.high), step=1)
                descriptor.integer_range = [bounds]
        value = self._value(rule.name)
        self._node.declare_parameter(rule.name, value, descriptor, ignore_override=True)

    def _value(self, name: str) -> object:
        value = self.settings
        for part in name.split("."):
            value = getattr(value, part)
        return list(value) if isinstance(value, tuple) else value

    def _candidate(self, changes: Mapping[str, object]) -> Any:
        for name in changes:
            if self._judge and not self._rules[name].is_live:
                raise ConfigError(
                    f"parameter '{name}' can only change while the node is unconfigured; "
                    "clean the node up first"
                )
        current = {name: self._value(name) for name in self._rules}
        candidate = build(self._cls, current | dict(changes))
        if self._judge:
            self._judge(candidate)
        return candidate

    def _check(self, parameters: list[Any]) -> Any:
        from rcl_interfaces.msg import SetParametersResult

        try:
            self._candidate({p.name: p.value for p in parameters if p.name in self._rules})
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[Any]) -> None:
        changes = {p.name: p.value for p in parameters if p.name in self._rules}
        if changes:
            self.settings = self._candidate(changes)
