import cv2
import numpy as np
import pytest
from PIL import Image

from occ_perception.geometry.transforms import inverse, rotation_rpy, transform
from occ_training.convert.trees.flat import (
    Retrieval,
    write_bdd100k,
    write_cityscapes,
    write_realestate10k,
    write_retrieval,
)

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (8, 12, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 34, (8, 12), dtype=np.uint8)


def test_retrieval_lines_and_arrays(tmp_path):
    hit, visible = np.array([True, False, True]), np.array([0, 2])
    questions = [Retrieval("a" * 32, text, hit, visible) for text in ("red car", "a wall")]
    write_retrieval(tmp_path, "val", questions)
    write_retrieval(tmp_path, "test", [Retrieval("b" * 32, "pole", ~hit, visible)])
    lines = (tmp_path / "retrieval_anns_all.csv").read_text().splitlines()
    assert len(lines) == 3
    token, split, annotation, points, text = lines[1].split(";")
    assert (token, split, text) == ("a" * 32, "val", "a wall")
    np.testing.assert_array_equal(np.load(tmp_path / annotation), [1, 0, 1])
    np.testing.assert_array_equal(np.load(tmp_path / points), visible)
    assert len((tmp_path / "retrieval_anns_val.csv").read_text().splitlines()) == 2


def test_cityscapes_files(tmp_path):
    instances = LABELS.astype(np.uint16) * 1000 + 7
    write_cityscapes(tmp_path, "val", ("procedural", 3, 19), IMAGE, LABELS, instances)
    stem = "val/procedural/procedural_000003_000019"
    image = Image.open(tmp_path / "leftImg8bit" / f"{stem}_leftImg8bit.png")
    np.testing.assert_array_equal(np.asarray(image), IMAGE)
    read = cv2.imread(str(tmp_path / "gtFine" / f"{stem}_gtFine_instanceIds.png"), -1)
    np.testing.assert_array_equal(read, instances)


def test_bdd100k_masks(tmp_path):
    write_bdd100k(tmp_path, "val", "world-0", IMAGE, LABELS)
    train = np.asarray(Image.open(tmp_path / "labels/sem_seg/masks/val/world-0.png"))
    assert (train[LABELS == 7] == 0).all()  # road
    assert (train[LABELS == 26] == 13).all()  # car
    assert (train[LABELS < 7] == 255).all()
    panoptic = np.asarray(Image.open(tmp_path / "labels/pan_seg/bitmasks/val/world-0.png"))
    assert panoptic.shape == (8, 12, 4)
    assert (panoptic[LABELS == 26][:, 0] == 35).all()
    assert (panoptic[LABELS == 33][:, 0] == 33).all()
    assert (panoptic[LABELS < 7][:, 0] == 0).all()


def test_realestate10k_lines(tmp_path, shared_dir):
    T = transform((1, 2, 3))
    T[:3, :3] = rotation_rpy(0.1, 0.2, 0.3)
    K = np.array([[8.0, 0, 5.5], [0, 9, 3.5], [0, 0, 1]])
    write_realestate10k(tmp_path, "test", "0" * 16, K, [(33_400, T, IMAGE)])
    lines = (tmp_path / f"test/{'0' * 16}.txt").read_text().splitlines()
    real = next((shared_dir / "data/realestate10k/cameras").glob("*.txt")).read_text().splitlines()
    assert len(lines[1].split()) == len(real[1].split()) == 19
    numbers = np.array(lines[1].split(), float)
    np.testing.assert_allclose(numbers[1:7], [8 / 12, 9 / 8, 0.5, 0.5, 0, 0])
    np.testing.assert_allclose(numbers[7:].reshape(3, 4), inverse(T)[:3], atol=1e-8)
    assert numbers[0] == pytest.approx(33_400)
    assert (tmp_path / f"frames/test/{'0' * 16}/33400.jpg").is_file()
