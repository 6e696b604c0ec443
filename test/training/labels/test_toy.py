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


def test_without_a_class_image_it_cannot_answer():
    with pytest.raises(ConfigError, match=r"topics\.classes"):
        ToyTeacher()(TeacherInput(torch.zeros(1, 3, 8, 8)))
