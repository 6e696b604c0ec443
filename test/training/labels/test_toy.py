import pytest
import torch

from occ_perception.core.errors import ConfigError
from occ_training.labels.teacher import OUTDOOR_CLASSES, TeacherInput
from occ_training.labels.toy import ToyTeacher

ROAD, CAR, MISSING = 7, 26, 255


def ask(class_image):
    image = torch.zeros(1, 3, *class_image.shape)
    return ToyTeacher()(TeacherInput(image, class_image[None].to(torch.uint8)))


def halves(left, right):
    classes = torch.full((32, 64), left)
    classes[:, 32:] = right
    return classes


def test_a_patch_of_one_class_is_that_class():
    answer = ask(halves(ROAD, CAR))
    assert answer.features.shape == (1, 512, 4, 8) and answer.seg_logits.shape == (1, 21, 4, 8)
    names = [OUTDOOR_CLASSES[i] for i in answer.seg_logits[0, :, 0].argmax(dim=0)]
    assert names == ["road"] * 4 + ["car"] * 4
    road, car = answer.features[0, :, 0, 0], answer.features[0, :, 0, 7]
    assert road.norm() == pytest.approx(1, abs=1e-5) and abs(road @ car) < 0.3


def test_borders_are_off_and_always_in_the_same_way():
    first, again = ask(halves(ROAD, CAR)), ask(halves(ROAD, CAR))
    assert torch.equal(first.features, again.features)
    inside, at_border = first.seg_logits[0, :, :, 0], first.seg_logits[0, :, :, 3:5]
    assert (inside.amax(dim=0) == 10).all() and (at_border.amax(dim=0) < 10).any()


def test_missing_pixels_say_nothing():
    assert ask(torch.full((16, 16), MISSING)).seg_logits.abs().sum() == 0


def test_segments_are_misnamed_and_missed_where_that_is_wanted():
    """Forty separate patches of sidewalk on buildings: some become road, some nothing."""
    sidewalk, building = 8, 11
    classes = torch.full((128, 320), building)
    for row in range(4):
        for column in range(10):
            classes[32 * row + 4 : 32 * row + 28, 32 * column + 4 : 32 * column + 28] = sidewalk
    image, given = torch.zeros(1, 3, 128, 320), classes[None].to(torch.uint8)
    teacher = ToyTeacher(misnames=True)
    answers = [teacher(TeacherInput(image, given)) for _ in range(2)]
    assert torch.equal(answers[0].features, answers[1].features)
    assert teacher.name != ToyTeacher().name
    middles = answers[0].seg_logits[0, :, 1::4, 1::4]
    named = [OUTDOOR_CLASSES[i] for i in middles.argmax(dim=0).flatten()]
    missed = int((middles.amax(dim=0) == 0).sum())
    assert 28 <= named.count("sidewalk") < 40 and "building" not in named
    assert missed + named.count("road") >= 1


def test_without_a_class_image_it_cannot_answer():
    with pytest.raises(ConfigError, match=r"topics\.classes"):
        ToyTeacher()(TeacherInput(torch.zeros(1, 3, 8, 8)))
