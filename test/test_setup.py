"""The set-up: one clear sentence where the machine lacks something, and no work done twice."""

import os
import shutil
import subprocess

import pytest

TARGETS = {"setup", "demo", "test", "parity", "lint", "colcon", "bench", "clean"}


@pytest.fixture
def clone(repository, tmp_path):
    """What the Makefile looks at, copied, with every step of the set-up marked as done."""
    for name in ("config", ".ci", "occ_msgs"):
        shutil.copytree(repository / name, tmp_path / name)
    for name in ("Makefile", "setup.py", "package.xml", "pyproject.toml"):
        shutil.copy(repository / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    for path in tmp_path.rglob("*"):
        os.utime(path, (1000, 1000))
    for age, name in enumerate((".created", ".requirements", ".interfaces", ".package"), 2000):
        (tmp_path / ".venv" / name).touch()
        os.utime(tmp_path / ".venv" / name, (age, age))
    return tmp_path


def check_machine(repository, **variables):
    return subprocess.run(
        [repository / ".ci/check_machine"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [
        ("PYTHON", "'no-such-tool' is not there"),
        ("CC", "compiler 'no-such-tool' is missing"),
        ("CXX", "apt-get install g++"),
    ],
)
def test_a_missing_tool_is_named_in_one_line(repository, variable, sentence):
    answer = check_machine(repository, **{variable: "no-such-tool"})
    assert answer.returncode == 1
    assert sentence in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("refused", "sentence"),
    [("version_info", "3.11 or 3.12"), ("ensurepip", "python3-venv"), ("Python.h", "python3-dev")],
)
def test_a_python_that_lacks_something_is_refused(repository, tmp_path, refused, sentence):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$2" in *{refused}*) exit 1;; esac\n')
    python.chmod(0o755)
    answer = check_machine(repository, PYTHON=str(python))
    assert answer.returncode == 1
    assert sentence in answer.stderr


def planned(clone, target="setup"):
    """The commands that make would run."""
    answer = subprocess.run(
        ["make", "--dry-run", target], cwd=clone, capture_output=True, text=True, check=True
    )
    return answer.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
class TestMake:
    def test_every_target_is_there_and_explained(self, clone):
        listed = subprocess.run(
            ["make", "help"], cwd=clone, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        assert {line.split()[0] for line in listed} >= TARGETS
        assert all(len(line.split()) > 2 for line in listed)

    def test_a_second_call_sets_nothing_up(self, clone):
        assert "pip" not in planned(clone)
        assert "pip" not in planned(clone, "test")
        assert "pip" not in planned(clone, "demo")

    def test_a_changed_message_rebuilds_the_interfaces_only(self, clone):
        (clone / "occ_msgs/msg/VoxelGrid.msg").touch()
        commands = planned(clone)
        assert "./occ_msgs" in commands
        assert "--editable" not in commands and "requirements" not in commands.replace(
            ".requirements", ""
        )

    @pytest.mark.parametrize("name", ["requirements.txt", "requirements-ros.txt"])
    def test_a_changed_requirement_is_installed(self, clone, name):
        (clone / "config" / name).touch()
        assert f"-r config/{name}" in planned(clone)

    def test_heavy_cases_are_in_exactly_one_of_test_and_parity(self, clone):
        assert '-m "not heavy"' in planned(clone, "test")
        assert "-m heavy" in planned(clone, "parity")

    def test_a_sourced_ros_does_not_leak_in(self, clone):
        makefile = clone / "Makefile"
        makefile.write_text(makefile.read_text() + "\nshow:\n\t@env\n")
        foreign = {
            "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
            "LD_LIBRARY_PATH": "/other/lib",
            "PYTHONPATH": "/opt/ros/jazzy/lib/python3.12/site-packages",
            "AMENT_PREFIX_PATH": "/opt/ros/jazzy",
        }
        seen = subprocess.run(
            ["make", "show"],
            cwd=clone,
            env={**os.environ, **foreign},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert not [name for name in foreign if f"\n{name}=" in f"\n{seen}"]
