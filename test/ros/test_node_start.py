"""Starting, refusing to start and leaving: one sentence each, the right exit code, no traceback."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.ros
LIMIT_S = 60  # only against hanging; nothing is measured


def start(tmp_path, *arguments, module="occ_perception.nodes.vlscene_node"):
    log = (tmp_path / "log").open("w")
    return subprocess.Popen(
        [sys.executable, "-m", module, "--ros-args", "-p", "system.device:=cpu", *arguments],
        env=os.environ | {"PYTHONPATH": "test:."},
        stdout=log,
        stderr=subprocess.STDOUT,
    )


def output(tmp_path):
    return (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "system.weightz:=x"], ["'system.weightz'", "did you mean system.weights"]),
        (["-p", "system.device:=toaster"], ["'toaster'", "give auto, cpu or cuda:N"]),
        (["-p", "system.device:=meta"], ["'meta'", "give auto, cpu or cuda:N"]),
        (["-p", "output.max_height_m:=-90.0", "-p", "output.min_height_m:=-99.0",
          "-p", "system.preset:=nano"], ["holds no voxel layer"]),
        (["-p", "system.weights:=/nowhere/w.safetensors", "-p", "system.preset:=nano"],
         ["/nowhere/w.safetensors"]),
    ],
)  # fmt: skip
def test_a_node_that_cannot_work_refuses_to_start(tmp_path, arguments, words):
    process = start(tmp_path, *arguments)
    assert process.wait(LIMIT_S) == 1
    said = output(tmp_path)
    for word in words:
        assert word in said
    assert "Traceback" not in said


def test_a_key_misspelt_in_the_file_refuses_the_start(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("/**:\n  ros__parameters:\n    output: {max_hight_m: 1.0}\n")
    process = start(tmp_path, "--params-file", str(file))
    assert process.wait(LIMIT_S) == 1
    assert "'output.max_hight_m'; did you mean output.max_height_m" in output(tmp_path)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--params-file", "nowhere.yaml"], "parameter file 'nowhere.yaml' cannot be read"),
        (["-p", "system.device"], "the arguments after --ros-args cannot be used"),
        (["--such-a-flag"], "the arguments after --ros-args cannot be used"),
    ],
)
def test_arguments_that_ros_cannot_read_are_one_sentence(tmp_path, words, sentence):
    process = start(tmp_path, *words)
    assert process.wait(LIMIT_S) == 1
    assert sentence in output(tmp_path)
    assert "Traceback" not in output(tmp_path)


def test_damaged_weights_refuse_the_start(tmp_path):
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"\x80\x02}q\x00.")
    process = start(tmp_path, "-p", f"system.weights:={file}", "-p", "system.preset:=nano")
    assert process.wait(LIMIT_S) == 1
    assert "cannot configure" in output(tmp_path)
    assert "Traceback" not in output(tmp_path)


def test_a_refused_configuration_leaves_a_managed_node_alive(tmp_path):
    from lifecycle_msgs.msg import Transition
    from ros import live

    node = live.Live(
        "ros.carving_node", "carving_node", tmp_path / "log", "-p", "autostart:=false",
        "-p", "output.blocking:=[dragon]",
    )  # fmt: skip
    try:
        assert not node.change_state(Transition.TRANSITION_CONFIGURE)
        assert node.state() == "unconfigured"
        assert "'dragon'" in node.log()
        assert node.set_parameter("output.blocking", ["car"]).successful
        assert node.change_state(Transition.TRANSITION_CONFIGURE)
    finally:
        node.close()


def test_random_weights_are_said_and_the_shipped_file_is_accepted(tmp_path, repository):
    process = start(
        tmp_path, "--params-file", str(repository / "config/vlscene.yaml"),
        "-p", "system.preset:=nano", "-p", "system.weights:=random",
    )  # fmt: skip
    wait_for(tmp_path, process, "active; images from /left/image_rect, /right/image_rect")
    assert "the weights are RANDOM" in output(tmp_path)
    process.terminate()
    assert process.wait(LIMIT_S) == 0


def wait_for(tmp_path, process, words):
    deadline = time.monotonic() + LIMIT_S
    while words not in output(tmp_path):
        assert process.poll() is None, output(tmp_path)
        assert time.monotonic() < deadline, output(tmp_path)
        time.sleep(0.05)


@pytest.mark.parametrize(
    "signals", [[signal.SIGINT], [signal.SIGINT, signal.SIGINT], [signal.SIGTERM]]
)
def test_the_node_leaves_cleanly(tmp_path, signals):
    process = start(tmp_path, module="ros.carving_node")
    wait_for(tmp_path, process, "active;")
    for number in signals:
        process.send_signal(number)
        time.sleep(0.01)
    assert process.wait(LIMIT_S) == 0
    assert "Traceback" not in output(tmp_path)


@pytest.mark.parametrize(("lives", "code"), [(False, 0), (True, 1)])
def test_a_signal_between_two_waits_is_an_end_like_any_other(lives, code):
    """What rclpy then raises is no error; with a living context it is."""
    program = f"""
import sys, rclpy
from occ_perception.ros.system_node import run_system
def spin(node):
    {"pass" if lives else "rclpy.shutdown()"}
    raise RuntimeError("failed to initialize wait set")
rclpy.spin = spin
sys.exit(run_system("vlscene", ["--ros-args", "-p", "autostart:=false"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == code, done.stderr
    assert ("Traceback" in done.stderr) == lives
