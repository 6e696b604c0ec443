import json
import os
import signal

import numpy as np
import pytest

from occ_perception.bags.reader import BagReader
from occ_perception.core.errors import BagError, ConfigError
from occ_training.data.layers import decode_layer
from occ_training.labels import worker
from occ_training.labels.answers import Answer, depth_of_layer, message_of, packed_depth
from occ_training.labels.layers import find_layer, layer_topic, read_about
from occ_training.labels.worker import Shard, label, write_inventory


class Counting:
    """Answers with the number of the frame; counts how often it is asked."""

    recording, frame_id = "drive", "left"

    def __init__(self, frames=7, identity="teacher 1", fails_at=None):
        self.stamps_ns = [10**18 + 10**8 * i for i in range(frames)]
        self.identity, self.fails_at, self.asked = identity, fails_at, []

    def answer(self, frame):
        if frame == self.fails_at:
            raise KeyboardInterrupt
        self.asked.append(frame)
        values = np.full((2, 3, 5), frame, np.float16)
        return [Answer("/labels/x/features", self.stamps_ns[frame], self.frame_id, values)]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(worker, "_FRAMES_PER_PART", 2)


def read_back(path):
    with BagReader(path) as bag:
        messages = [m for m in bag.messages() if m.topic != "/labels/about"]
        layers = [
            decode_layer(m.msgtype, bag.decode(m), bag.stamp_ns(m), lambda _: (np.eye(4), None))
            for m in messages
        ]
    return {layer.stamp_ns: layer.values for layer in layers}


def test_every_frame_gets_its_answer(tmp_path):
    labeler = Counting()
    state = label(labeler, tmp_path, Shard())
    assert state.is_complete and (state.frames, state.parts) == (7, 4)
    found = read_back(tmp_path / "drive")
    assert list(found) == labeler.stamps_ns
    for number, values in enumerate(found.values()):
        assert values.shape == (2, 3, 5) and values.dtype == np.float16 and (values == number).all()
    assert read_about(tmp_path / "drive")["identity"] == "teacher 1"
    assert sorted(p.name for p in tmp_path.iterdir()) == [".parts", "drive"]


def test_workers_share_the_parts_and_the_last_one_joins_them(tmp_path):
    asked = []
    for index in range(3):
        labeler = Counting()
        state = label(labeler, tmp_path, Shard(index, 3))
        assert state.is_complete == (index == 2)
        asked += labeler.asked
    assert sorted(asked) == list(range(7))
    assert len(read_back(tmp_path / "drive")) == 7


def test_a_stopped_worker_goes_on_where_it_was(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        label(Counting(fails_at=5), tmp_path, Shard())
    assert not (tmp_path / "drive").exists()
    again = Counting()
    assert label(again, tmp_path, Shard()).is_complete
    assert again.asked == [4, 5, 6]


class Dying(Counting):
    """Is killed without a chance to tidy up."""

    def answer(self, frame):
        if frame == self.fails_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().answer(frame)


def test_a_killed_worker_leaves_nothing_half_done(tmp_path):
    child = os.fork()
    if not child:
        label(Dying(fails_at=5), tmp_path, Shard())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL and not (tmp_path / "drive").exists()
    again = Counting()
    assert label(again, tmp_path, Shard()).is_complete
    assert again.asked == [4, 5, 6]
    found = read_back(tmp_path / "drive")
    assert [int(values[0, 0, 0]) for values in found.values()] == list(range(7))


def test_a_finished_layer_is_left_alone(tmp_path):
    label(Counting(), tmp_path, Shard())
    again = Counting()
    assert label(again, tmp_path, Shard()).is_complete and again.asked == []


@pytest.mark.parametrize("other", [{"identity": "teacher 2"}, {"frames": 8}])
def test_another_teacher_or_recording_does_not_mix_with_a_layer(tmp_path, other):
    label(Counting(), tmp_path, Shard())
    with pytest.raises(BagError, match="another teacher or of another recording"):
        label(Counting(**other), tmp_path, Shard())


def test_the_inventory_names_what_is_missing(tmp_path):
    state = label(Counting(), tmp_path, Shard(0, 2))
    write_inventory(tmp_path, {"drive": state})
    write_inventory(tmp_path, {"other": state})
    layers = json.loads((tmp_path / "inventory.json").read_text())["layers"]
    assert set(layers) == {"drive", "other"} and layers["drive"]["missing"] == 2


@pytest.mark.parametrize("text", ["", "1", "4/4", "-1/4", "a/b", "0/0"])
def test_a_share_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="i/n"):
        Shard.parse(text)


def test_a_layer_of_another_model_or_a_part_of_one_is_refused(tmp_path):
    with pytest.raises(BagError, match="does not exist"):
        find_layer(tmp_path, "drive")
    label(Counting(), tmp_path, Shard(0, 2))
    with pytest.raises(BagError, match="is incomplete"):
        find_layer(tmp_path, "drive")
    label(Counting(), tmp_path, Shard(1, 2))
    assert find_layer(tmp_path, "drive", "teacher") == tmp_path / "drive"
    with pytest.raises(BagError, match="made by 'teacher 1', not by maskclip"):
        find_layer(tmp_path, "drive", "maskclip")


@pytest.mark.parametrize("form", ["fp16", "png16"])
def test_depth_comes_back_from_either_form(form):
    depth = np.array([[0.0, 1.25, 40.0], [70.0, 3.7, 12.3]], np.float32)
    back = depth_of_layer(packed_depth(depth, form))
    far = 0.0 if form == "png16" else 70.0  # further than 16 bits of millimetres reach
    np.testing.assert_allclose(back, [[0, 1.25, 40.0], [far, 3.7, 12.3]], atol=4e-3)


def test_values_of_a_kind_that_no_layer_has_are_refused():
    with pytest.raises(ConfigError, match="2-d values of int64"):
        message_of(Answer("/labels/x", 0, "left", np.zeros((2, 2), np.int64)))


def test_layers_are_named_after_the_camera():
    topic = layer_topic("/cam_front/image_rect_color/compressed", "depth")
    assert topic == "/labels/cam_front/depth"
