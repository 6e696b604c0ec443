"""Shipped files are found in an installed ROS, in an environment, and in the repository."""

import sys

import pytest

from occ_perception.core.errors import ConfigError
from occ_perception.ros import share


def test_the_repository_serves_an_editable_install(repository):
    assert share.share_file("config/vlscene.yaml") == repository / "config/vlscene.yaml"


def test_the_ament_index_comes_first(tmp_path, monkeypatch):
    shipped = tmp_path / "share" / share.PACKAGE / "config/vlscene.yaml"
    shipped.parent.mkdir(parents=True)
    shipped.touch()
    marker = tmp_path / "share/ament_index/resource_index/packages" / share.PACKAGE
    marker.parent.mkdir(parents=True)
    marker.touch()
    pytest.importorskip("ament_index_python")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert share.share_file("config/vlscene.yaml") == shipped


def test_an_environment_serves_a_pip_install(tmp_path, monkeypatch):
    shipped = tmp_path / "share" / share.PACKAGE / "config/other.yaml"
    shipped.parent.mkdir(parents=True)
    shipped.touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert share.share_file("config/other.yaml") == shipped


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"config/nowhere\.yaml"):
        share.share_file("config/nowhere.yaml")
