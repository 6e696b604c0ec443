"""Settings become parameters; unknown names, wrong types and values out of range are refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from occ_perception.core.errors import ConfigError
from occ_perception.core.labels import load_label_map
from occ_perception.ros import params
from occ_perception.ros.settings import NodeSettings, OutputSettings
from occ_perception.ros.system_settings import SETTINGS
from occ_perception.systems.roles import SURROUND_CAMERAS

NAMES = [rule.name for rule in params.rules(NodeSettings)]


def test_names_are_grouped_and_described():
    assert "cameras.max_skew_s" in NAMES
    assert "autostart" in NAMES
    assert all(rule.description for rule in params.rules(NodeSettings))


def test_no_values_give_the_defaults():
    assert params.build(NodeSettings, {}) == NodeSettings()


def test_values_reach_their_fields_and_whole_numbers_pass_for_floats():
    built = params.build(NodeSettings, {"cameras.max_skew_s": 1, "system.device": "cpu"})
    assert built.cameras.max_skew_s == 1.0
    assert type(built.cameras.max_skew_s) is float
    assert built.system.device == "cpu"


def test_lists_arrive_as_tuples():
    built = params.build(
        NodeSettings,
        {"output.blocking": ["car", ""], "frames.grid_pose_in_base": [0, 0, 1.73, 0, 0, 0]},
    )
    assert built.output.blocking == ("car",)
    assert built.frames.grid_pose_in_base == (0.0, 0.0, 1.73, 0.0, 0.0, 0.0)


def test_an_empty_list_in_yaml_reaches_us_as_nothing():
    assert params.build(NodeSettings, {"output.blocking": None}).output.blocking == ()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("cameras.max_skew_s", "fast", ["cameras.max_skew_s", "'fast'", "a number"]),
        ("cameras.max_skew_s", True, ["a number"]),
        ("cameras.max_skew_s", -0.1, ["at least 0"]),
        ("cameras.max_skew_s", float("nan"), ["at least 0"]),
        ("cameras.queue_depth", 1.5, ["a whole number"]),
        ("autostart", 1, ["true or false"]),
        ("system.weights", 7, ["a string"]),
        ("system.weights", None, ["a string"]),
        ("system.precision", "int8", ["'int8'", "fp32, bf16, fp16"]),
        ("frames.grid_pose_in_base", [1.0, 2.0], ["six finite numbers"]),
        ("frames.grid_pose_in_base", [float("inf")] * 6, ["six finite numbers"]),
        ("frames.grid_pose_in_base", ["a"], ["a list of numbers"]),
        ("frames.grid", "", ["must name a frame"]),
        ("output.min_height_m", 5.0, ["must be below"]),
        ("output.blocking", [1], ["a list of strings"]),
    ],
)
def test_refusals_name_the_parameter_and_what_it_must_be(name, value, words):
    with pytest.raises(ConfigError) as caught:
        params.build(NodeSettings, {name: value})
    for word in (name, *words):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("system.weightz", "system.weights"),
        ("weights", "system.weights"),
        ("output.max_skew_s", "cameras.max_skew_s"),
    ],
)
def test_unknown_names_are_refused_with_near_ones(name, near):
    with pytest.raises(ConfigError, match=f"'{name}'; did you mean {near}"):
        params.refuse_unknown([name], NAMES)


def test_names_that_rcl_reads_itself_are_no_mistake():
    params.refuse_unknown(["use_sim_time", "qos_overrides./tf.subscription.depth"], NAMES)


@pytest.mark.parametrize("system", SETTINGS)
def test_the_shipped_file_says_what_the_dataclass_says(repository, system):
    kind = SETTINGS[system]
    names = [rule.name for rule in params.rules(kind)]
    text = (repository / f"config/{system}.yaml").read_text()
    tree = yaml.safe_load(text)["/**"]["ros__parameters"]
    flat = {
        f"{group}.{name}" if isinstance(values, dict) else group: value
        for group, values in tree.items()
        for name, value in (values.items() if isinstance(values, dict) else [("", values)])
    }
    params.refuse_unknown(list(flat), names)
    assert params.build(kind, flat) == kind()
    # What YAML cannot say empty is shown as a comment; nothing is left out.
    assert all(f"{name.rpartition('.')[2]}:" in text for name in names)


def test_a_system_may_choose_other_defaults_for_a_group():
    defaults = {rule.name: rule.default for rule in params.rules(SETTINGS["langocc"])}
    assert defaults["frames.grid"] == "base_link"
    assert defaults["output.min_height_m"] == 0.3
    built = params.build(SETTINGS["langocc"], {"output.points": False})
    assert (built.output.min_height_m, built.output.points) == (0.3, False)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"grid.voxel_size_m": 0.3}, "do not fill the space"),
        ({"grid.upper_m": [0.0, 25.6, 4.4]}, "do not fill the space"),
        ({"grid.lower_m": [0.0, 1.0]}, "three finite numbers"),
    ],
)
def test_grids_that_voxels_do_not_fill_are_refused(values, words):
    with pytest.raises(ConfigError, match=words):
        params.build(SETTINGS["vipocc"], values)


def test_an_anchor_that_is_no_camera_is_refused():
    settings = params.build(SETTINGS["gaussianflowocc"], {"cameras.anchor": "CAM_TOP"})
    with pytest.raises(ConfigError, match="'CAM_TOP', choose one of CAM_FRONT_LEFT, CAM_FRONT,"):
        settings.anchor(SURROUND_CAMERAS)


def test_blocking_classes_by_name():
    labels = load_label_map("semantickitti")
    assert (OutputSettings().blocking_table(labels) == labels.blocking()).all()
    table = OutputSettings(blocking=("road",)).blocking_table(labels)
    assert np.flatnonzero(table).tolist() == [labels.id_of("road")]
    with pytest.raises(ConfigError, match="'dragon'"):
        OutputSettings(blocking=("dragon",)).blocking_table(labels)


class FakeNode:
    """The part of rclpy's node that parameters need."""

    def __init__(self, **overrides):
        self._parameter_overrides = {
            name.replace("__", "."): SimpleNamespace(value=value)
            for name, value in overrides.items()
        }
        self.declared = {}

    def declare_parameter(self, name, value, descriptor, ignore_override):
        self.declared[name] = (value, descriptor)

    def add_on_set_parameters_callback(self, check):
        self.check = check

    def add_post_set_parameters_callback(self, apply):
        self.apply = apply


@pytest.fixture
def rcl_interfaces(monkeypatch):
    """Stand-ins for the two message classes that declaring needs."""

    def record(**fields):
        return SimpleNamespace(**fields)

    msg = SimpleNamespace(
        ParameterDescriptor=record,
        FloatingPointRange=record,
        IntegerRange=record,
        SetParametersResult=lambda successful, reason="": (successful, reason),
    )
    monkeypatch.setitem(__import__("sys").modules, "rcl_interfaces", SimpleNamespace(msg=msg))
    monkeypatch.setitem(__import__("sys").modules, "rcl_interfaces.msg", msg)


def change(node, **values):
    """Set parameters as rclpy does: ask first, then apply."""
    parameters = [
        SimpleNamespace(name=name.replace("__", "."), value=value) for name, value in values.items()
    ]
    successful, reason = node.check(parameters)
    if successful:
        node.apply(parameters)
    return reason


def test_overrides_are_read_and_everything_is_declared_with_its_range(rcl_interfaces):
    node = FakeNode(cameras__queue_depth=7)
    parameters = params.Parameters(node, NodeSettings)
    assert parameters.settings.cameras.queue_depth == 7
    assert list(node.declared) == NAMES
    value, descriptor = node.declared["cameras.queue_depth"]
    assert value == 7
    assert (descriptor.integer_range[0].from_value, descriptor.integer_range[0].to_value) == (
        1,
        100,
    )
    assert node.declared["system.precision"][1].additional_constraints == "fp32, bf16, fp16"


def test_an_unknown_override_refuses_the_node(rcl_interfaces):
    with pytest.raises(ConfigError, match=r"system\.weightz"):
        params.Parameters(FakeNode(system__weightz="x"), NodeSettings)


def test_a_change_is_judged_as_a_whole_before_it_happens(rcl_interfaces):
    node = FakeNode()
    parameters = params.Parameters(node, NodeSettings)
    assert "must be below" in change(node, output__max_height_m=-3.0)
    assert parameters.settings == NodeSettings()
    assert not change(node, output__max_height_m=-3.0, output__min_height_m=-4.0)
    assert parameters.settings.output.max_height_m == -3.0


def test_only_live_settings_change_while_configured(rcl_interfaces):
    node = FakeNode()
    parameters = params.Parameters(node, NodeSettings)
    refused = []

    def judge(settings):
        if settings.output.max_markers == 13:
            refused.append(settings)
            raise ConfigError("thirteen")

    parameters.freeze(judge)
    assert "while the node is unconfigured" in change(node, system__device="cpu")
    assert change(node, output__max_markers=13) == "thirteen"
    assert refused
    assert not change(node, output__max_markers=14)
    parameters.thaw()
    assert not change(node, system__device="cpu")
    assert parameters.settings.system.device == "cpu"
    assert parameters.settings.output.max_markers == 14


def test_nan_is_refused_where_there_is_no_range():
    height = next(r for r in params.rules(NodeSettings) if r.name == "output.max_height_m")
    with pytest.raises(ConfigError, match=r"is nan, it must be a finite number"):
        height.read(float("nan"))
