import pytest

from occ_perception.core.errors import ConfigError
from occ_perception.ros.params_file import check_params_file
from occ_perception.ros.share import share_file

GOOD = "ros__parameters:\n    autostart: true\n"


def written(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_shipped_file_is_accepted():
    check_params_file(share_file("config/vlscene.yaml"), "vlscene_node")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing but a comment\n",
        f"/**:\n  {GOOD}",
        f"vlscene_node:\n  {GOOD}",
        f"/robot/vlscene_node:\n  {GOOD}",
        f"robot:\n  vlscene_node:\n    {GOOD.replace('    ', '      ')}",
        f"camera:\n  {GOOD}/**/vlscene_node:\n  {GOOD}",
        "vlscene_node:\n  ros__parameters:\n",
    ],
)
def test_forms_that_ros_knows_are_accepted(text, tmp_path):
    check_params_file(written(tmp_path, text), "vlscene_node")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- a\n- b\n", "its content is no mapping"),
        ("hello\n", "its content is no mapping"),
        ("a: [b\n", "is no YAML"),
        (b"\xff\xfe\x00", "is no YAML"),
        ("output:\n  voxels: true\n", "section 'output/voxels' is no mapping"),
        ("/**:\n", r"section '/\*\*' is no mapping"),
        ("/**:\n  ros__parameters:\n    - a\n", r"'ros__parameters' of '/\*\*' is no mapping"),
        (f"vlscen_node:\n  {GOOD}", "parameters of vlscen_node only, none of vlscene_node"),
    ],
)
def test_files_that_would_set_nothing_are_refused(text, sentence, tmp_path):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=sentence) as caught:
        check_params_file(path, "vlscene_node")
    assert str(path) in str(caught.value)


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere.yaml' cannot be read .*check the path"):
        check_params_file(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        check_params_file(tmp_path)


def test_a_node_alone_takes_a_file_for_others(tmp_path):
    check_params_file(written(tmp_path, f"camera:\n  {GOOD}"))
