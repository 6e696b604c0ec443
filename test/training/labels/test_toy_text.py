"""Words of the procedural world."""

import pytest
import torch

from occ_perception.core.errors import ConfigError
from occ_perception.systems.langocc.reducer import ClipReducer
from occ_perception.text.shipped import shipped_embeddings
from occ_perception.text.vocabulary import load_vocabulary
from occ_training.labels.toy_text import ToyTextEncoder, known_words, unseen_words
from occ_training.recipes.clip_reducer import train_reducer
from occ_training.world.teachers import SYNONYMS, TOY_TEXT_ENCODER

WORDS = load_vocabulary("toy_world")


def test_the_shipped_words_are_the_encoders():
    table = shipped_embeddings(TOY_TEXT_ENCODER)
    assert {*WORDS.prompts, *known_words()} == set(table.prompts)
    made = ToyTextEncoder(table.vectors.shape[1]).encode(table.prompts)
    torch.testing.assert_close(table.find(table.prompts), made.vectors, atol=1e-3, rtol=0)


def test_words_count_whole_and_the_longest_first():
    shelter, bus, structure = ToyTextEncoder().encode(["bus shelter", "bus", "BUSES"]).vectors
    assert shelter @ bus < 0.3
    assert bus @ structure > 0.99


def test_a_word_that_the_reducer_never_saw_lands_beside_its_class():
    unseen = unseen_words(WORDS)
    assert len(unseen) > 10
    torch.manual_seed(0)
    reducer = ClipReducer(128, 32)
    known, asked = (ToyTextEncoder(128).encode(w).vectors for w in (WORDS.prompts, unseen))
    train_reducer(reducer, known)
    with torch.no_grad():
        nearest = (reducer(asked) @ reducer(known).T).argmax(dim=1)
    own = {name: names[0] for names in SYNONYMS.values() for name in names}
    ids = dict(zip(WORDS.prompts, WORDS.class_ids, strict=True))
    found = [WORDS.class_ids[i] for i in nearest]
    assert found == [ids[own[word]] for word in unseen]


@pytest.mark.parametrize("prompts", [[], [""], ["x" * 201], ["a\x00b"], [3]])
def test_what_is_no_text_is_refused(prompts):
    with pytest.raises(ConfigError):
        ToyTextEncoder().encode(prompts)
