import pytest
import torch

from occ_perception.core.errors import WeightsError
from occ_perception.weights.convert import convert_state
from occ_perception.weights.files import write_weights
from occ_training.labels.lseg import LSeg, LSegCheckpoint, LSegConfig, LSegTeacher, load_lseg
from occ_training.labels.teacher import TeacherInput

TINY = LSegConfig(
    vit="vit_tiny_patch16_384",
    depth=4,
    blocks=(0, 1, 2, 3),
    image_side=64,
    level_channels=(8, 8, 8, 8),
    channels=8,
    text_channels=32,
    text_layers=1,
)


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    return LSegTeacher(LSeg(TINY), "tiny", classes=("road", "car", "others"))


def test_answers_have_the_size_of_the_feature_map(teacher):
    features, logits = teacher(TeacherInput(torch.randn(2, 3, 32, 128)))
    assert features.shape == (2, 32, 4, 16)
    assert logits.shape == (2, 3, 4, 16)
    assert not features.requires_grad


def test_an_answer_does_not_depend_on_the_rest_of_the_batch(teacher):
    images = torch.randn(2, 3, 32, 128)
    both, one = teacher(TeacherInput(images)), teacher(TeacherInput(images[1:]))
    assert torch.allclose(both.features[1], one.features[0], atol=1e-4)


def test_only_rows_of_the_image_reach_the_logits(teacher):
    """Logits are cut to the image; the features' published slip reaches the padding below it."""
    network = teacher._network
    features = torch.zeros(1, 32, 32, 32)
    features[:, :, 8:] = 1  # at half resolution the image ends at row 8 of 32
    network.features = lambda padded: features
    answer = network(torch.zeros(1, 3, 32, 128), torch.ones(2, 32))
    assert (answer.features[:, :, 2:] == 1).all() and (answer.features[:, :, :1] == 0).all()
    assert (answer.seg_logits[..., 0, :] == 0).all()


def official_of(network):
    names = {}
    for key, tensor in network.state_dict().items():
        name = key.replace("encoder.vit.", "pretrained.model.").replace(
            "to_text.", "scratch.head1."
        )
        name = name.replace("text.transformer.", "clip_pretrained.", 1)
        for i in range(4):
            process = f"pretrained.act_postprocess{i + 1}."
            name = name.replace(f"readouts.{i}.project.", f"{process}0.project.0.")
            name = name.replace(f"neck.projects.{i}.", f"{process}3.")
            name = name.replace(f"neck.resizes.{i}.", f"{process}4.")
            name = name.replace(f"neck.aligns.{i}.", f"scratch.layer{i + 1}_rn.")
            name = name.replace(f"neck.fusions.{i}.", f"scratch.refinenet{4 - i}.")
        for ours, theirs in ((".own.", ".resConfUnit1."), (".refine.", ".resConfUnit2.")):
            name = name.replace(ours, theirs)
        if "refinenet" in name:
            name = name.replace(".norm1.", ".bn1.").replace(".norm2.", ".bn2.")
            name = name.replace(".project.", ".out_conv.")
        names[f"net.{name}"] = tensor
    side = TINY.table_side**2 + 1
    names["net.pretrained.model.pos_embed"] = torch.randn(1, side, 192)
    names["net.pretrained.model.head.weight"] = torch.zeros(1000, 192)
    return names


def test_the_official_layout_converts_strictly():
    network = LSeg(TINY)
    official = official_of(network)
    state, report = convert_state(LSegCheckpoint(TINY), official, "demo")
    assert torch.equal(state["to_text.weight"], network.to_text.weight)
    assert report.dropped["ImageNet classifier"] == 1
    official.pop("net.scratch.head1.bias")
    with pytest.raises(WeightsError, match=r"lacks to_text\.bias"):
        convert_state(LSegCheckpoint(TINY), official, "demo")
    with pytest.raises(WeightsError, match="unknown entries"):
        convert_state(LSegCheckpoint(TINY), {"net.stranger": torch.zeros(1)}, "demo")


def test_a_converted_file_makes_the_same_teacher(tmp_path, teacher):
    state = {k: v for k, v in teacher._network.state_dict().items() if "num_batches" not in k}
    about = {"config": {}, "labels": "x", "grid": {}, "source": "demo", "source_sha256": "0"}
    write_weights(tmp_path / "t.safetensors", state, about | {"system": "lseg", "licence": "?"})
    again = load_lseg(tmp_path / "t.safetensors", TINY)
    image = TeacherInput(torch.randn(1, 3, 32, 128))
    assert again.name.startswith("lseg ")
    ours, theirs = again(image).features, teacher(image).features
    assert torch.equal(ours, theirs)
