"""The text encoder without its library, and with a stand-in for it."""

import sys
import types

import pytest
import torch

from occ_perception.core.errors import ConfigError
from occ_perception.text.encoder import TextEncoder


class StandIn(torch.nn.Module):
    """Encodes a text as counts of its letters."""

    def encode_text(self, tokens):
        return tokens.float()


def count_letters(texts):
    codes = [torch.tensor(list(text.encode())) for text in texts]
    return torch.stack([code.bincount(minlength=256) for code in codes])


@pytest.fixture
def open_clip(monkeypatch):
    module = types.ModuleType("open_clip")
    module.OPENAI_IMAGENET_TEMPLATES = [lambda c: f"a photo of a {c}.", lambda c: f"a {c}."]
    module.create_model = lambda name, pretrained: StandIn()
    module.get_tokenizer = lambda name: count_letters
    monkeypatch.setitem(sys.modules, "open_clip", module)


def test_without_the_library_the_error_names_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ConfigError, match=r"occ_perception\[text\]"):
        TextEncoder().encode(["car"])


def test_templates_are_averaged_as_unit_vectors(open_clip):
    encoder = TextEncoder()
    assert len(encoder.templates()) == 2 + 5
    assert "there is the {} in the scene." in encoder.templates()
    single = [encoder.encode([t.format("car")], templates=False) for t in encoder.templates()]
    mean = torch.stack([s.vectors[0] for s in single]).mean(dim=0)
    found = encoder.encode(["car"])
    torch.testing.assert_close(found.vectors[0], mean / mean.norm())
    assert found.clip == "ViT-B-16-quickgelu/openai"


def test_bad_prompts_never_reach_the_encoder(open_clip):
    with pytest.raises(ConfigError, match="not text"):
        TextEncoder().encode(["car", ""])
