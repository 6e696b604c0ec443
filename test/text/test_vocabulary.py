"""Shipped vocabularies, and prompts that nobody can encode."""

import pytest
import torch

from occ_perception.core.errors import ConfigError
from occ_perception.text.vocabulary import Vocabulary, check_prompts, load_vocabulary


def test_the_published_vocabularies():
    words = load_vocabulary("occ3d_v1")
    assert len(words.prompts) == 76
    assert words.class_ids[words.prompts.index("lorry")] == 10
    assert words.class_ids[words.prompts.index("sky")] == 0
    assert set(words.class_ids) == set(range(17))
    single = load_vocabulary("occ3d_v2")
    assert single.prompts[0] == "a photo of a car"
    assert single.class_ids == (4, 10, 9, 3, 5, 2, 6, 7, 8, 1, 11, 12, 13, 14, 15, 16, 0)


def test_an_unknown_vocabulary_lists_the_shipped_ones():
    with pytest.raises(ConfigError, match="occ3d_v1"):
        load_vocabulary("coco")


def test_a_score_with_the_class_mean_is_the_mean_score():
    words = Vocabulary("w", ("car", "van", "tree"), (4, 4, 16))
    embeddings, vector = torch.randn(3, 8), torch.randn(8)
    means, ids = words.class_means(embeddings)
    scores = embeddings @ vector
    torch.testing.assert_close(means @ vector, torch.stack([scores[:2].mean(), scores[2]]))
    assert ids.tolist() == [4, 16]


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ([], "0 prompts"),
        (["car", "  "], "not text"),
        (["a" * 300], "300"),
        (["a\x00b"], "not text"),
    ],
)
def test_prompts_that_cannot_be_read_are_refused(prompts, words):
    with pytest.raises(ConfigError, match=words):
        check_prompts(prompts)
