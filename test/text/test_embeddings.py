"""Text embeddings on disk."""

import pytest
import torch

from occ_perception.core.errors import ConfigError
from occ_perception.text.embeddings import TextEmbeddings, load_embeddings, save_embeddings


def embeddings():
    vectors = torch.nn.functional.normalize(torch.randn(3, 8), dim=-1)
    return TextEmbeddings("ViT-B-16/openai", True, ("car", "tree", "Füßgänger"), vectors)


def test_a_round_trip_keeps_words_and_vectors(tmp_path):
    made = embeddings()
    save_embeddings(tmp_path / "e.safetensors", made)
    found = load_embeddings(tmp_path / "e.safetensors", "ViT-B-16/openai")
    assert (found.prompts, found.templates) == (made.prompts, True)
    torch.testing.assert_close(found.find(["tree", "car"]), made.vectors[[1, 0]])


def test_vectors_of_another_clip_are_refused(tmp_path):
    save_embeddings(tmp_path / "e.safetensors", embeddings())
    with pytest.raises(ConfigError, match="this model speaks RN50/openai"):
        load_embeddings(tmp_path / "e.safetensors", "RN50/openai")


def test_an_unknown_prompt_names_the_cure():
    with pytest.raises(ConfigError, match=r"'bus'.*open_clip"):
        embeddings().find(["car", "bus"])


@pytest.mark.parametrize("content", [b"", b"{}", b"\x08" * 200])
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "e.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match="holds no text embeddings"):
        load_embeddings(tmp_path / "e.safetensors")
    with pytest.raises(ConfigError, match="do not exist"):
        load_embeddings(tmp_path / "other.safetensors")


def test_empty_vectors_are_refused():
    with pytest.raises(ConfigError, match="empty vector"):
        TextEmbeddings("c", True, ("a",), torch.zeros(1, 4))
