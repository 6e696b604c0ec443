import numpy as np
import pytest

from occ_perception.core.errors import BagError, ConfigError
from occ_perception.core.labels import load_label_map
from occ_training.labels.bag_images import BagImages
from occ_training.labels.image_labeler import ImageLabeler
from occ_training.labels.layers import DEPTH, LANGUAGE, MASKS, STREET
from occ_training.labels.toy_layers import ToyLayers, occ3d_of_street, truth
from occ_training.world.teachers import text_embedding

CAMERA = "/labels/cam_front"


@pytest.fixture(scope="module")
def images(surround_bag):
    return BagImages(surround_bag)


@pytest.fixture(scope="module")
def answers(images):
    labeler = ImageLabeler(images, ToyLayers((DEPTH, MASKS, STREET, LANGUAGE), channels=64))
    return {a.topic: a for n in range(6) for a in labeler.answer(n)}


def test_every_camera_has_every_layer(images, answers):
    assert len(images) == 12 and images.instants == 2
    assert len(answers) == 6 * 5
    assert len({a.stamp_ns for a in answers.values()}) == 6  # each camera at its own time


def test_depth_is_near_the_truth_but_not_it(images, answers):
    front = next(i for i in images if "/cam_front/" in i.camera.image)
    true = truth(front, images, "depth")
    guess = answers[f"{CAMERA}/depth"].values.astype(np.float32)
    there = true > 0
    ratio = guess[there] / true[there]
    assert not guess[~there].any()
    assert 0.02 < np.abs(ratio - 1).mean() < 0.3 and abs(np.median(ratio) - 1) < 0.15


def test_masks_name_most_pixels_as_they_are(images, answers):
    front = next(i for i in images if "/cam_front/" in i.camera.image)
    street = truth(front, images, "semantic")
    guess = answers[f"{CAMERA}/masks"].values
    same = (guess == occ3d_of_street()[street]).mean()
    assert 0.6 < same < 0.999 and guess.max() <= 16
    labels = load_label_map("occ3d_nuscenes")
    for city_id, name in ((26, "car"), (7, "driveable_surface"), (21, "vegetation"), (23, None)):
        assert occ3d_of_street()[city_id] == (0 if name is None else labels.id_of(name))


def test_rays_see_what_the_depth_truth_says_and_speak_of_its_class(images, answers):
    front = next(i for i in images if "/cam_front/" in i.camera.image)
    rays, vectors = (answers[f"{CAMERA}/{kind}"].values[0] for kind in ("rays", "language"))
    row, column = np.rint(rays[:, :2]).astype(int).T
    true = truth(front, images, "depth")[row, column]
    near = np.abs(rays[:, 2] - true) < 0.05 * true + 0.3
    assert len(rays) > 100 and near.mean() > 0.8  # the rest: another place of the scanner
    road = truth(front, images, "semantic")[row, column] == 7
    similar = vectors.astype(np.float32) @ text_embedding("road", 64)
    assert similar[road].mean() > similar[~road].mean() + 0.4


def test_any_worker_makes_the_same(images, answers):
    again = ImageLabeler(images, ToyLayers((DEPTH, MASKS))).answer(0)
    for answer in again:
        assert np.array_equal(answer.values, answers[answer.topic].values)


def test_only_images_beside_a_message_are_labelled(surround_bag):
    assert len(BagImages(surround_bag, beside="/ground_truth/voxels")) == 12
    with pytest.raises(BagError, match="no topic /nothing"):
        BagImages(surround_bag, beside="/nothing")
    with pytest.raises(BagError, match="no rectified camera /cam_up"):
        BagImages(surround_bag, ("/cam_up/image",))


def test_what_has_no_stand_in_is_refused():
    with pytest.raises(ConfigError, match=r"no stand-in makes \['sound'\]"):
        ToyLayers(("sound",))
