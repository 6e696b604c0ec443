"""Cameras by role among the topics of a bag."""

import pytest

from bags.test_stereo import write_cameras
from occ_perception.bags.reader import BagReader
from occ_perception.bags.rigs import RigTopics, find_rig, named_rig, rig_in_bag
from occ_perception.core.errors import BagError

SIX = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_LEFT", "CAM_BACK",
       "CAM_BACK_RIGHT")  # fmt: skip


def rig_of(path, roles):
    with BagReader(path) as bag:
        return find_rig(bag, roles)


def write(path, *images, compressed=False):
    return write_cameras(path, dict.fromkeys(images, 0.0), compressed=compressed)


def test_a_stereo_pair_is_a_rig_of_two(tmp_path):
    path = write_cameras(tmp_path / "bag", {"/l/left/image": 0.0, "/l/right/image": -200.0})
    assert dict(rig_of(path, ("left", "right")).infos) == {
        "left": "/l/left/camera_info",
        "right": "/l/right/camera_info",
    }


@pytest.mark.parametrize(
    ("images", "best"),
    [
        (["/any/image_raw"], "/any/image_raw"),
        (["/back/image_rect", "/front/image_rect"], "/front/image_rect"),
        (["/cam_front_left/image_rect", "/cam_front/image_rect"], "/cam_front/image_rect"),
        (["/camera/left/image_rect", "/camera_color/left/image_rect"],
         "/camera_color/left/image_rect"),
        (["/camera/right/image_rect", "/camera/left/image_rect"], "/camera/left/image_rect"),
    ],
)  # fmt: skip
def test_one_camera_is_the_best_forward_one(tmp_path, images, best):
    rig = rig_of(write(tmp_path / "bag", *images), ("camera",))
    assert dict(rig.images) == {"camera": best}
    assert not rig.compressed


@pytest.mark.parametrize("form", ["/cam_{}/image_rect_color", "/{}_camera/image", "/rig/{}/image"])
def test_surround_cameras_are_found_by_name(tmp_path, form):
    names = [role.lower().removeprefix("cam_") for role in SIX]
    path = write(tmp_path / "bag", *(form.format(name) for name in names), compressed=False)
    rig = rig_of(path, SIX)
    assert rig.images["CAM_BACK"] == form.format("back")
    assert len(set(rig.images.values())) == 6
    assert rig.topics()[:6] == list(rig.images.values())


def test_compressed_images_keep_their_suffix(tmp_path):
    images = [f"/{role.lower()}/image_rect/compressed" for role in SIX]
    rig = rig_of(write(tmp_path / "bag", *images, compressed=True), SIX)
    assert rig.compressed
    assert rig.plain_images["CAM_BACK"] == "/cam_back/image_rect"


def test_what_is_missing_is_named_with_the_candidates(tmp_path):
    path = write(tmp_path / "bag", *(f"/{role.lower()}/image_rect" for role in SIX[:5]))
    with pytest.raises(BagError, match=r"no calibrated cameras for 'CAM_BACK_RIGHT'.*/cam_back/"):
        rig_of(path, SIX)
    bare = write_cameras(tmp_path / "bare", {"/front/image": 0.0}, with_info=False)
    with pytest.raises(
        BagError, match=r"no calibrated camera.*/front/image; with calibration: non"
    ):
        rig_of(bare, ("camera",))


def test_named_topics_need_no_bag_but_are_checked_against_one(tmp_path):
    rig = named_rig({"camera": "/a/image"}, {})
    assert rig == RigTopics({"camera": "/a/image"}, {"camera": "/a/camera_info"})
    assert named_rig({"camera": "/a/image"}, {"camera": "/c"}).infos == {"camera": "/c"}
    path = write(tmp_path / "bag", "/a/image/compressed", compressed=True)
    with BagReader(path) as bag:
        assert rig_in_bag(bag, rig).images == {"camera": "/a/image/compressed"}
        with pytest.raises(BagError, match="no topic /b/image; it has"):
            rig_in_bag(bag, named_rig({"camera": "/b/image"}, {}))
