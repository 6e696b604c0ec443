import subprocess
import sys

import pytest

from occ_perception import cli
from occ_perception.core.errors import ConfigError

EVERY_HELP = [
    ["demo", "--help"],
    ["run", "--help"],
    ["play", "--help"],
    ["weights", "--help"],
    ["weights", "convert", "--help"],
    ["weights", "show", "--help"],
    ["bench", "--help"],
    ["eval", "--help"],
    ["floors", "--help"],
    ["train", "--help"],
    ["label", "--help"],
    ["label", "maskclip", "--help"],
    ["words", "embed", "--help"],
    ["world", "--help"],
]
NEEDING_ROS = {"demo", "run", "play"}


def occ(arguments, capsys):
    """Exit code, standard output and standard error of a command line."""
    try:
        code = cli.main(arguments)
    except SystemExit as end:  # tyro leaves this way after --help and wrong options
        code = end.code or 0
    return code, *capsys.readouterr()


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_command(arguments, capsys):
    code, out, err = occ(arguments, capsys)
    assert (code, err) == (0, "")
    for name in cli.COMMANDS:
        assert f"occ {name}" in out


def test_help_imports_nothing_heavy():
    program = (
        "import sys; from occ_perception.cli import main; main(['--help'])\n"
        "heavy = {'torch', 'numpy', 'rclpy', 'rosbags', 'cv2', 'tyro', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(a, id=" ".join(a), marks=[pytest.mark.ros] if a[0] in NEEDING_ROS else [])
        for a in EVERY_HELP
    ],
)
def test_each_command_explains_itself(arguments, capsys):
    code, out, _ = occ(arguments, capsys)
    assert code == 0
    assert f"usage: occ {' '.join(arguments[:-1])}" in out
    if len(arguments) == 2:
        assert f"occ {arguments[0]} " in out.split("Examples:")[1]
    # Each option has more to say than its own name.
    assert "(default: )\n│ --" not in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["dem"], "did you mean 'demo'?"),
        (["xyz"], "there are: demo, run, play"),
        (["weights", "convert", "vlsene", "a.pth", "b.safetensors"], "did you mean 'vlscene'?"),
        (["weights", "convert", "vlscene", "no.pth", "b.safetensors"], "'no.pth' does not exist"),
        (["weights", "show", "no.safetensors"], "'no.safetensors' does not exist"),
        (["bench", "nothing"], "unknown measurement nothing"),
    ],
)
def test_refusals_are_one_sentence_and_code_2(arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = occ(arguments, capsys)
    assert code == 2
    assert sentence in err
    assert err.count("\n") == 1 and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_where_an_error_came_from():
    with pytest.raises(ConfigError):
        cli.main(["--debug", "xyz"])
    with pytest.raises(ConfigError):
        cli.main(["xyz", "--debug"])


def test_a_missing_package_is_named_with_the_cure(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rclpy", None)  # what a machine without ROS is like
    for name in [m for m in sys.modules if m.startswith(("occ_perception.ros", "rclpy."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "occ_perception.commands.play", raising=False)
    code, _, err = occ(["play", "bag"], capsys)
    assert code == 2
    assert "'rclpy' is missing" in err and "make setup" in err


def test_wrong_options_end_with_code_2(capsys):
    code, _, err = occ(["bench", "--nonsense"], capsys)
    assert code == 2
    assert "nonsense" in err


def test_benchmarks_are_listed(capsys):
    code, out, _ = occ(["bench", "--list"], capsys)
    assert code == 0
    assert "bags" in out.split()


def test_weights_are_shown(capsys, tmp_path):
    import torch

    from occ_perception.weights.files import write_weights

    about = {"config": {"size": 3}, "labels": "semantickitti", "grid": {}, "source": "official.pth"}
    about |= {"system": "vlscene", "source_sha256": "abc", "licence": "free"}
    write_weights(tmp_path / "w.safetensors", {"layer": torch.zeros(2, 3)}, about)
    code, out, _ = occ(["weights", "show", str(tmp_path / "w.safetensors")], capsys)
    assert code == 0
    for word in ("vlscene", "official.pth", "free", "size=3", "6"):
        assert word in out
