"""One list of processes for `ros2 launch` and `occ run`; the launch file uses nothing else."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from bags.sample_bags import write_stereo_bag

from occ_perception.bags.reader import BagReader
from occ_perception.bags.writer import BagWriter
from occ_perception.core.errors import BagError, ConfigError
from occ_perception.ros import launch_arguments, launch_plan, topics
from occ_perception.ros.launch_arguments import LaunchArguments, from_values
from occ_perception.ros.launch_plan import plan, systems
from occ_perception.systems.catalog import SYSTEMS
from occ_perception.systems.roles import OFFERS, PROMPTED, ROLES, anchor_of

IMAGES = ("/camera/left/image_rect", "/camera/right/image_rect")


@pytest.fixture
def bag(tmp_path):
    return str(write_stereo_bag(tmp_path / "bag"))


def by_name(specs):
    return {spec.name: spec for spec in specs}


def test_live_topics_need_the_node_only():
    (node,) = plan("vlscene", LaunchArguments())
    assert (node.name, node.executable) == ("vlscene_node", "vlscene_node")
    assert node.module == "occ_perception.nodes.vlscene_node"
    assert "-r" not in node.arguments and "use_sim_time:=true" not in node.arguments
    assert node.arguments[2].endswith("config/vlscene.yaml")


def test_a_bag_brings_a_player_that_waits_and_its_own_topics(bag):
    specs = by_name(plan("vlscene", LaunchArguments(bag=bag)))
    assert list(specs) == ["vlscene_node", "bag_player"]
    words = specs["vlscene_node"].arguments
    assert f"left/image_rect:={IMAGES[0]}" in words
    assert f"right/image_rect:={IMAGES[1]}" in words
    assert "left/camera_info:=/camera/left/camera_info" in words
    assert "use_sim_time:=true" in words
    player = specs["bag_player"].arguments
    assert player[player.index("--wait-for") + 1] == "/vlscene_node/latency"
    assert player[player.index("--anchor") + 1] == IMAGES[0]


def test_without_waiting_the_player_keeps_the_bags_time(bag):
    player = by_name(plan("vlscene", LaunchArguments(bag=bag, wait=False, rate=2.0)))["bag_player"]
    assert "--wait-for" not in player.arguments
    assert player.arguments[player.arguments.index("--rate") + 1] == "2.0"


def test_compressed_images_are_noticed(shared_dir):
    bag = str(shared_dir / "data/rosbag2_from_real/kitti_06")
    for named in ({}, {"left": IMAGES[0], "right": IMAGES[1]}):
        specs = by_name(plan("vlscene", LaunchArguments(bag=bag, images=named)))
        words = specs["vlscene_node"].arguments
        assert "cameras.compressed:=true" in words
        assert f"left/image_rect:={IMAGES[0]}" in words  # the node appends /compressed itself
        player = specs["bag_player"].arguments
        assert player[player.index("--anchor") + 1] == f"{IMAGES[0]}/compressed"


def test_named_live_topics_are_remapped_with_their_camera_infos():
    (node,) = plan("vlscene", LaunchArguments(images={"left": "/a/l/image", "right": "/a/r/image"}))
    assert "left/camera_info:=/a/l/camera_info" in node.arguments
    (node,) = plan(
        "vlscene",
        LaunchArguments(
            images={"left": "/a/l/image", "right": "/a/r/image"}, infos={"left": "/calib"}
        ),
    )
    assert "left/camera_info:=/calib" in node.arguments


def test_live_images_may_be_compressed():
    for images in ({}, {"left": "/l/image", "right": "/r/image/compressed"}):
        named = LaunchArguments(compressed=True, output="out", images=images)
        node, recorder = plan("vlscene", named)
        assert "cameras.compressed:=true" in node.arguments
        left = images.get("left", "/left/image_rect")
        assert f"{left}/compressed" in recorder.arguments
        assert not any("/compressed/compressed" in word for word in recorder.arguments)
    told_by_name = LaunchArguments(images={"left": "/l/i/compressed", "right": "/r/i/compressed"})
    (node,) = plan("vlscene", told_by_name)
    assert "cameras.compressed:=true" in node.arguments
    assert "left/image_rect:=/l/i" in node.arguments


def test_values_reach_the_node_as_yaml_strings(tmp_path):
    params = tmp_path / "p.yaml"
    params.write_text("/**:\n  ros__parameters:\n    autostart: true\n")
    chosen = LaunchArguments(
        weights="/my w: {x}", device="cuda:0", params=str(params), preset="nano"
    )
    (node,) = plan("vlscene", chosen)
    given = dict(word.split(":=", 1) for word in node.arguments if ":=" in word)
    assert yaml.safe_load(given["system.weights"]) == "/my w: {x}"
    assert yaml.safe_load(given["system.device"]) == "cuda:0"
    assert yaml.safe_load(given["system.preset"]) == "nano"
    assert node.arguments[:3] == ("--ros-args", "--params-file", str(params))


def test_a_parameter_file_for_another_node_is_refused_before_the_start(tmp_path):
    params = tmp_path / "p.yaml"
    params.write_text("vlscen_node:\n  ros__parameters:\n    autostart: true\n")
    with pytest.raises(ConfigError, match="of vlscen_node only, none of vlscene_node"):
        plan("vlscene", LaunchArguments(params=str(params)))


def test_the_bag_that_is_played_is_never_replaced(bag, tmp_path):
    (tmp_path / "link").symlink_to(bag)
    file = str(next(Path(bag).glob("*.mcap")))
    for played, output in ((bag, bag), (bag, str(tmp_path / "link")), (file, bag)):
        with pytest.raises(BagError, match="is the bag to play"):
            plan("vlscene", LaunchArguments(bag=played, output=output, overwrite=True))
    plan("vlscene", LaunchArguments(bag=file, output=str(tmp_path / "out")))


def test_answers_of_an_earlier_run_are_not_played_again(bag, tmp_path):
    earlier = tmp_path / "earlier"
    with BagReader(bag) as source, BagWriter(earlier) as target:
        for message in source.messages():
            target.add_topic(message.topic, message.msgtype)
            target.write(message.topic, message.time_ns, message.data)
        target.add_topic("/vlscene_node/latency", "std_msgs/msg/String")
        inputs = list(source.topics)
    words = by_name(plan("vlscene", LaunchArguments(bag=str(earlier))))["bag_player"].arguments
    assert sorted(words[words.index("--topics") + 1 :][: len(inputs)]) == sorted(inputs)
    assert "/vlscene_node/latency" not in words[: words.index("--wait-for")]
    words = by_name(plan("vlscene", LaunchArguments(bag=bag)))["bag_player"].arguments
    assert "--topics" not in words


def test_recording_holds_what_went_in_and_what_came_out(bag):
    specs = by_name(plan("vlscene", LaunchArguments(bag=bag, output="out", overwrite=True)))
    assert list(specs) == ["vlscene_node", "bag_recorder", "bag_player"]  # the player comes last
    words = specs["bag_recorder"].arguments
    assert words[:2] == ("out", "--overwrite")
    assert {*IMAGES, "/vlscene_node/voxels", "/vlscene_node/latency", "/tf_static"} <= set(words)


def test_the_viewer_is_started_where_there_is_one(monkeypatch):
    monkeypatch.setattr(launch_plan.shutil, "which", lambda name: None)
    assert len(plan("vlscene", LaunchArguments(rviz=True))) == 1
    monkeypatch.setattr(launch_plan.shutil, "which", lambda name: f"/bin/{name}")
    assert len(plan("vlscene", LaunchArguments())) == 1
    named = LaunchArguments(rviz=True, images={"left": "/l/image", "right": "/r/image"})
    viewer = plan("vlscene", named)[-1]
    assert (viewer.package, viewer.executable) == ("rviz2", "rviz2")
    assert viewer.arguments[1].endswith("config/vlscene.rviz")
    assert "/left/image_rect:=/l/image" in viewer.arguments


def test_every_process_gets_the_large_shared_memory_unless_the_user_chose(bag, monkeypatch):
    for name in launch_plan._PROFILE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for spec in plan("vlscene", LaunchArguments(bag=bag)):
        assert all(
            spec.env[name].endswith("config/fastdds.xml") for name in launch_plan._PROFILE_VARIABLES
        )
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/mine.xml")
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" not in launch_plan.dds_variables()


def test_mistakes_are_named(bag):
    with pytest.raises(ConfigError, match="unknown system 'vlscen'; did you mean 'vlscene'"):
        plan("vlscen", LaunchArguments())
    with pytest.raises(ConfigError, match="name all of left_image, right_image, or none"):
        from_values("vlscene", {"left_image": "/a"})
    with pytest.raises(BagError, match="no topic /a; it has"):
        plan("vlscene", LaunchArguments(bag=bag, images={"left": "/a", "right": "/b"}))
    with pytest.raises(ConfigError, match="'rate' is 'fast', it must be a number"):
        launch_arguments.from_text("vlscene", {"rate": "fast"})
    with pytest.raises(ConfigError, match="'wait' is 'maybe', it must be true or false"):
        launch_arguments.from_text("vlscene", {"wait": "maybe"})


@pytest.mark.parametrize("system", SYSTEMS)
def test_text_and_back(system):
    declared = launch_arguments.declared_arguments(system)
    texts = {argument.name: argument.default for argument in declared}
    assert launch_arguments.from_text(system, texts) == LaunchArguments()
    given = launch_arguments.from_text(system, {"wait": "False", "rate": "0.5"})
    assert given == LaunchArguments(wait=False, rate=0.5)
    assert ("prompts" in texts) == (system in PROMPTED)


def test_prompts_reach_the_node_as_a_list():
    chosen = launch_arguments.from_text("langocc", {"prompts": "car, traffic cone,"})
    assert chosen.prompts == ("car", "traffic cone")
    (node,) = plan("langocc", chosen)
    given = dict(word.split(":=", 1) for word in node.arguments if ":=" in word)
    assert yaml.safe_load(given["prompts"]) == ["car", "traffic cone"]


def test_every_system_has_node_launch_file_parameters_and_view(repository):
    assert systems() == sorted(SYSTEMS) == sorted(ROLES)
    for system in systems():
        assert (repository / f"launch/{system}.launch.py").is_file()
        assert (repository / f"config/{system}.yaml").is_file()
        assert (repository / f"config/{system}.rviz").is_file()


def test_six_cameras_of_a_real_bag_are_remapped_and_the_front_one_sets_the_pace(shared_dir):
    bag = str(shared_dir / "data/rosbag2_from_real/nuscenes_scene_0061")
    specs = by_name(plan("gaussianflowocc", LaunchArguments(bag=bag, output="out")))
    words = specs["gaussianflowocc_node"].arguments
    assert "cam_back_left/image_rect:=/cam_back_left/image_rect_color" in words
    assert sum(word == "-r" for word in words) == 6  # calibrations have the node's own names
    player = specs["bag_player"].arguments
    anchor = player[player.index("--anchor") + 1]
    assert anchor == "/cam_front/image_rect_color/compressed"
    recorded = specs["bag_recorder"].arguments
    assert {"/gaussianflowocc_node/gaussians", "/cam_back/camera_info", "/tf"} <= set(recorded)


# --- the launch file, with stand-ins for the modules of an installed ROS --------------------------


@pytest.fixture
def launch(monkeypatch):
    """`launch` and `launch_ros`, as far as the file uses them."""

    def record(*args, **fields):
        return SimpleNamespace(args=args, **fields)

    modules = {
        "launch": SimpleNamespace(LaunchContext=object, LaunchDescription=list),
        "launch.actions": SimpleNamespace(DeclareLaunchArgument=record, OpaqueFunction=record),
        "launch.substitutions": SimpleNamespace(
            LaunchConfiguration=lambda name: SimpleNamespace(perform=lambda c: c.pop(name))
        ),
        "launch_ros": SimpleNamespace(),
        "launch_ros.actions": SimpleNamespace(Node=record),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "occ_perception.ros.launching", raising=False)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_launch_file_declares_and_uses_every_argument(launch, repository, system):
    described = runpy.run_path(str(repository / f"launch/{system}.launch.py"))
    *declared, start = described["generate_launch_description"]()
    defaults = {item.args[0]: item.default_value for item in declared}
    arguments = launch_arguments.declared_arguments(system)
    assert defaults == {a.name: a.default for a in arguments}
    assert all(item.description for item in declared)

    context = defaults | {"output": "out", "compressed": "true"}
    nodes = start.function(context)
    assert context == {}, "arguments that are declared but not used"
    expected = plan(system, LaunchArguments(output="out", compressed=True))
    assert [(n.executable, tuple(n.arguments)) for n in nodes] == [
        (spec.executable, spec.arguments) for spec in expected
    ]
    assert all(n.additional_env == spec.env for n, spec in zip(nodes, expected, strict=True))


@pytest.mark.parametrize("system", ["vlscene", "vipocc", "scenedino"])
def test_every_argument_of_a_launch_file_changes_what_is_started(
    launch, repository, system, bag, tmp_path, monkeypatch
):
    monkeypatch.setattr(launch_plan.shutil, "which", lambda name: f"/bin/{name}")
    described = runpy.run_path(str(repository / f"launch/{system}.launch.py"))
    *declared, start = described["generate_launch_description"]()
    defaults = {item.args[0]: item.default_value for item in declared}
    params = tmp_path / "p.yaml"
    params.write_text("/**:\n  ros__parameters:\n    autostart: true\n")
    given = {
        "bag": bag, "rviz": "true", "params": str(params), "weights": "/w.safetensors",
        "device": "cuda:1", "preset": "nano", "output": str(tmp_path / "out"),
        "overwrite": "true", "rate": "0.5", "wait": "false", "compressed": "true",
    }  # fmt: skip
    topics = dict(zip(ROLES[system], IMAGES[::-1], strict=False))  # not as they are found
    given |= {launch_arguments.image_argument(role): topic for role, topic in topics.items()}
    given |= {launch_arguments.info_argument(role): f"/calibration/{role}" for role in topics}
    assert given.keys() == defaults.keys()

    def started(values):
        return [(n.package, n.executable, tuple(n.arguments)) for n in start.function(dict(values))]

    images = {launch_arguments.image_argument(role) for role in topics}
    for name in given:
        # A bag says itself whether its images are compressed.
        base = given | ({"bag": ""} if name == "compressed" else {})
        # All cameras are named, or none.
        dropped = images if name in images else {name}
        without = base | {name: defaults[name] for name in dropped}
        assert started(base) != started(without), name
    assert {"rviz2", "bag_player", "bag_recorder"} < {n[1] for n in started(given)}


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_viewer_shows_topics_that_exist_and_asks_for_no_more_than_they_give(repository, system):
    view = yaml.safe_load((repository / f"config/{system}.rviz").read_text())
    view = view["Visualization Manager"]
    shown = {d["Topic"]["Value"]: d["Topic"] for d in view["Displays"] if "Topic" in d}
    images = {f"/{topics.image_input(role)}" for role in ROLES[system]}
    anchor = f"/{topics.image_input(anchor_of(ROLES[system]))}"
    outputs = {f"/{system}_node/{name}" for name in ("points", "grid", "markers")}
    assert outputs <= set(shown) - images <= {*outputs, *launch_plan.outputs(system)}
    assert anchor in shown
    assert all(shown[image]["Reliability Policy"] == "Best Effort" for image in images & {*shown})
    assert all(topic["Durability Policy"] == "Volatile" for topic in shown.values())
    grid = SYSTEMS[system].presets["published"]().grid
    assert view["Global Options"]["Fixed Frame"] == grid.frame_id
    boxes = next(d for d in view["Displays"] if d["Name"] == "Voxels")
    assert (boxes["Style"], boxes["Size (m)"]) == ("Boxes", grid.voxel_size_m[0])
    for offer in OFFERS.get(system, ()):
        outputs = {f"/{system}_node/{topic}" for topic in topics.OFFER_TOPICS[offer]}
        assert outputs & set(shown), f"nobody sees {offer}"
