"""Teachers of `transformers`, built tiny with random weights, saved and loaded as real ones are."""

import numpy as np
import pytest
import torch
from blocks.tiny_priors import write_depth_anything

from occ_perception.core.errors import ConfigError
from occ_training.labels.bag_images import BagImages
from occ_training.labels.depth import Canonical, MetricDepth
from occ_training.labels.image_labeler import ImageLabeler, LayerForm
from occ_training.labels.masks import Detections, GroundedSam, MaskOptions
from occ_training.labels.pretrained import fingerprint, load_pretrained

WORDS = ["sky", "car", "vehicle", "sedan", "van", "traffic", "cone", "road", ".", "truck", "tree"]


@pytest.fixture(scope="module")
def images(surround_bag):
    return BagImages(surround_bag)


@pytest.fixture(scope="module")
def depth_folder(tmp_path_factory):
    from transformers import DPTImageProcessor

    folder = write_depth_anything(tmp_path_factory.mktemp("depth"))
    size = {"height": 28, "width": 56}
    DPTImageProcessor(size=size, ensure_multiple_of=14).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def depth_parts(depth_folder):
    kinds = ("AutoModelForDepthEstimation", "AutoImageProcessor")
    return [load_pretrained(kind, str(depth_folder)) for kind in kinds]


def test_a_depth_model_answers_in_metres_for_every_pixel(images, depth_parts):
    (answer,) = ImageLabeler(images, MetricDepth(*depth_parts), LayerForm(0.5)).answer(0)
    assert answer.topic.endswith("/depth") and answer.values.dtype == np.float16
    assert answer.values.shape == (32, 88)
    assert np.isfinite(answer.values).all() and 0 < answer.values.max() <= 80


def test_other_weights_have_another_name(depth_parts):
    network, processor = depth_parts
    first = MetricDepth(network, processor).name
    with torch.no_grad():
        network.head.conv3.bias += 1
    assert MetricDepth(network, processor).name != first


def test_relative_depth_is_refused(depth_parts):
    network, processor = depth_parts
    network.config.depth_estimation_type = "relative"
    with pytest.raises(ConfigError, match="gives relative depth"):
        MetricDepth(network, processor)
    network.config.depth_estimation_type = "metric"


@pytest.mark.parametrize("size", [(900, 1600), (64, 176), (376, 1408)])
def test_canonical_depth_is_that_of_the_lens(size):
    """A wall that the network sees at 10 m through its own lens, with another focal length."""
    canonical = Canonical(size=(88, 152))
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    given = canonical.prepare(rgb)
    assert given.shape == (1, 3, 88, 152)
    factor = canonical.scale(*size)
    restored = canonical.restore(torch.full((44, 76), 10.0), size, focal_px=500.0)
    assert restored.shape == size
    assert torch.allclose(restored, torch.full(size, 10 * 500 * factor / 1000))


def test_canonical_images_lie_in_the_middle_with_red_for_blue():
    canonical = Canonical(size=(88, 152))
    rgb = np.zeros((100, 304, 3), np.uint8)
    rgb[..., 0] = 255  # red
    given = canonical.prepare(rgb)[0]
    bars = torch.cat([given[:, :19], given[:, 69:]], dim=1)
    assert bars.abs().max() < 1e-5  # the mean colour
    blue = (255 - canonical.mean[2]) / canonical.std[2]
    assert given[2, 40, 70] == pytest.approx(blue, abs=1e-4)
    kept = canonical.restore(torch.arange(88.0)[:, None].expand(88, 152), (100, 304), 1000.0)
    assert kept[0, 0] / canonical.scale(100, 304) == pytest.approx(19, abs=0.5)


def test_the_canonical_way_runs_on_any_model(images, depth_parts):
    teacher = MetricDepth(*depth_parts, canonical=Canonical(size=(28, 56)))
    (answer,) = ImageLabeler(images, teacher).answer(1)
    assert answer.values.shape == (64, 176) and np.isfinite(answer.values).all()


def test_what_is_not_on_this_machine_is_not_fetched(tmp_path):
    with pytest.raises(ConfigError, match="or allow --download"):
        load_pretrained("AutoModelForDepthEstimation", "nobody/no-such-model")
    with pytest.raises(ConfigError, match=f"folder '{tmp_path}' holds no AutoImageProcessor"):
        load_pretrained("AutoImageProcessor", str(tmp_path))


def test_pickled_weights_are_refused(depth_folder, tmp_path):
    (tmp_path / "config.json").write_bytes((depth_folder / "config.json").read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"model\.safetensors"):
        load_pretrained("AutoModelForDepthEstimation", str(tmp_path))


@pytest.fixture(scope="module")
def grounded_sam(tmp_path_factory):
    from transformers import (
        BertConfig,
        BertTokenizerFast,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SamConfig,
        SamImageProcessor,
        SamModel,
        SamProcessor,
        SwinConfig,
    )

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("masks")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    text = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=64,
    )  # fmt: skip
    picture = SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = GroundingDinoConfig(
        backbone_config=picture, text_config=text, d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, encoder_attention_heads=2,
        decoder_attention_heads=2, num_queries=12, max_text_len=32,
    )  # fmt: skip
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    fit = {"shortest_edge": 64, "longest_edge": 192}
    GroundingDinoForObjectDetection(config).save_pretrained(folder / "detector")
    processor = GroundingDinoProcessor(GroundingDinoImageProcessor(size=fit), tokenizer)
    processor.save_pretrained(folder / "detector")
    sam = SamConfig(
        vision_config={
            "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64,
            "patch_size": 8, "mlp_dim": 16, "output_channels": 16, "num_pos_feats": 8,
            "global_attn_indexes": [0], "window_size": 4,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 8,
                               "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2,
                             "num_hidden_layers": 1, "iou_head_hidden_dim": 8},
    )  # fmt: skip
    SamModel(sam).save_pretrained(folder / "segmenter")
    size = {"longest_edge": 64}
    square = SamImageProcessor(size=size, pad_size={"height": 64, "width": 64})
    SamProcessor(square).save_pretrained(folder / "segmenter")
    where = (str(folder / "detector"), str(folder / "segmenter"))
    parts = (
        load_pretrained("GroundingDinoForObjectDetection", where[0]),
        load_pretrained("GroundingDinoProcessor", where[0]),
        load_pretrained("SamModel", where[1]),
        load_pretrained("SamProcessor", where[1]),
    )
    return GroundedSam(*parts, MaskOptions(box_threshold=0.0, text_threshold=0.0))


def test_words_become_a_class_per_pixel(images, grounded_sam):
    (answer,) = ImageLabeler(images, grounded_sam).answer(0)
    assert answer.topic.endswith("/masks")
    assert answer.values.shape == (64, 176) and answer.values.dtype == np.uint8


def test_the_best_box_wins_and_only_whole_words_count(images, grounded_sam, monkeypatch):
    rgb = images[0].rgb
    boxes = torch.tensor([[0.0, 0, 100, 60], [40.0, 0, 176, 60]])
    found = Detections(boxes, torch.tensor([0.9, 0.3]), [4, 16])
    monkeypatch.setattr(grounded_sam, "detect", lambda rgb: found)
    covers = [torch.zeros(64, 176, dtype=torch.bool) for _ in range(2)]
    covers[0][:, :100], covers[1][:, 40:] = True, True

    def segment(rgb, ordered):
        return [covers[0] if box[0] == 0 else covers[1] for box in ordered]

    monkeypatch.setattr(grounded_sam, "segment", segment)
    classes = grounded_sam(images[0], images)["masks"]
    assert (classes[:, :100] == 4).all() and (classes[:, 100:] == 16).all()
    monkeypatch.setattr(grounded_sam, "detect", lambda rgb: Detections(boxes[:0], boxes[:0, 0], []))
    assert not grounded_sam(images[0], images)["masks"].any() and rgb.any()


def test_the_image_is_encoded_once_for_all_words(images, grounded_sam):
    """And the answers are those of asking for each word by itself."""
    calls = []
    backbone = grounded_sam._backbone.backbone
    hook = backbone.register_forward_hook(lambda *_: calls.append(1))
    rgb = images[0].rgb
    words = ["car", "tree", "sky"]
    many = answers_of(grounded_sam, rgb, words, 3)
    assert len(calls) == 1
    one = answers_of(grounded_sam, rgb, words, 1)
    hook.remove()
    for word, together, alone in zip(words, many, one, strict=True):
        assert all(phrase.startswith(word) for phrase in together["text_labels"])
        assert torch.allclose(together["scores"], alone["scores"], atol=1e-4)
        assert torch.allclose(together["boxes"], alone["boxes"], atol=1e-2)


@torch.no_grad()
def answers_of(teacher, rgb, words, at_once):
    pixels = teacher._words.image_processor(images=rgb, return_tensors="pt")
    teacher._backbone.look_at(pixels["pixel_values"], pixels["pixel_mask"])
    options = teacher.options
    teacher.options = MaskOptions(box_threshold=0.0, text_threshold=0.0, words_at_once=at_once)
    found = list(teacher._answers(pixels, words, rgb.shape[:2]))
    teacher.options = options
    return found


def test_a_fingerprint_tells_weights_apart():
    torch.manual_seed(0)
    first, other = torch.nn.Linear(40, 40), torch.nn.Linear(40, 40)
    assert fingerprint(first) != fingerprint(other) and fingerprint(first) == fingerprint(first)
