import os
import pickle

import numpy as np
import pytest

from occ_training.convert.infos import read_infos
from occ_training.convert.report import DatasetError


class Hostile:
    """Runs a command when it is unpickled by an ordinary reader."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_values_and_arrays_come_out(tmp_path, protocol):
    path = tmp_path / "infos.pkl"
    infos = {
        "infos": [{"token": "a", "K": np.eye(3), "n": np.float64(2.5), "raw": b"\x00\xff"}],
        "names": ("x", None, True),
    }
    path.write_bytes(pickle.dumps(infos, protocol))
    read = read_infos(path)
    np.testing.assert_array_equal(read["infos"][0]["K"], np.eye(3))
    assert read["infos"][0]["n"] == 2.5
    assert read["infos"][0]["raw"] == b"\x00\xff"
    assert read["names"] == ("x", None, True)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_is_refused_before_it_runs(tmp_path, protocol):
    marker, path = tmp_path / "ran", tmp_path / "infos.pkl"
    path.write_bytes(pickle.dumps({"infos": [Hostile(marker)]}, protocol))
    with pytest.raises(DatasetError, match="may run code"):
        read_infos(path)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "builtins.getattr", "numpy.load", "os.system"])
def test_names_that_are_not_values_are_refused(tmp_path, name):
    path = tmp_path / "infos.pkl"
    module, attribute = name.rsplit(".", 1)
    path.write_bytes(f"c{module}\n{attribute}\n.".encode())
    with pytest.raises(DatasetError, match=name):
        read_infos(path)


@pytest.mark.parametrize("content", [b"", b"\x80\x04}", b"not a pickle"])
def test_a_broken_pickle(tmp_path, content):
    path = tmp_path / "infos.pkl"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="no whole pickle"):
        read_infos(path)
