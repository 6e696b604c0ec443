"""From words to ids, colours and vectors."""

import pytest
import torch

from occ_perception.core.errors import ConfigError
from occ_perception.core.labels import load_label_map
from occ_perception.text.embeddings import TextEmbeddings, save_embeddings
from occ_perception.text.shipped import shipped_embeddings, table_path
from occ_perception.text.vocabulary import load_vocabulary
from occ_perception.text.wording import Wordings

MAP = load_label_map("occ3d_nuscenes")


def embeddings(words, seed=0):
    g = torch.Generator().manual_seed(seed)
    return TextEmbeddings("c/w", False, tuple(words), torch.randn(len(words), 4, generator=g))


def refuse(words):
    raise ConfigError("no encoder here")


@pytest.fixture
def wordings():
    table = embeddings([*load_vocabulary("occ3d_v1").prompts, "dragon"])
    return Wordings("occ3d_v1", "occ3d_nuscenes", table, refuse)


def test_without_words_the_vocabulary_is_in_force(wordings):
    wording = wordings.of(())
    assert wording.labels.name == "occ3d_nuscenes"
    assert wording.vocabulary == load_vocabulary("occ3d_v1")


def test_words_get_ids_that_spare_free_and_unknown(wordings):
    words = ("car", "dragon")
    wording = wordings.of(words)
    labels = wording.labels
    assert set(wording.vocabulary.class_ids).isdisjoint({MAP.free_id, MAP.unknown_id})
    assert [labels.names[labels.ids.index(i)] for i in wording.vocabulary.class_ids] == [*words]
    assert (labels.free_id, labels.unknown_id) == (MAP.free_id, MAP.unknown_id)
    assert labels.palette()[labels.id_of("car")].tolist() == (
        MAP.palette()[MAP.id_of("car")].tolist()
    )
    assert labels.id_of("dragon") in labels.blocking_ids  # nobody says that one may drive through


def test_other_words_have_another_name_and_the_same_words_the_same(wordings):
    names = [wordings.of(w).labels.name for w in (("car",), ("dragon",), ("car",))]
    assert names[0] == names[2] != names[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("car", "car"), "given twice"),
        ((" ",), "is not text"),
        (("x" * 201,), "at most 200"),
        (("unicorn",), "no vector for 'unicorn': no encoder here; stored: "),
        (tuple(f"w{k}" for k in range(251)), "tell 250 apart"),
    ],
)
def test_what_cannot_be_looked_for_is_refused(wordings, words, sentence):
    with pytest.raises(ConfigError, match=sentence):
        wordings.of(words)


def test_words_that_are_not_stored_are_encoded():
    table = embeddings(["car"])
    made = []

    def encode(words):
        made.append(tuple(words))
        return embeddings(words, seed=1)

    found = Wordings("occ3d_v1", "occ3d_nuscenes", table, encode).of(("car", "yak")).embeddings
    assert made == [("yak",)]
    assert sorted(found.prompts) == ["car", "yak"]
    torch.testing.assert_close(found.find(["car"]), table.find(["car"]))


def test_tables_are_found_by_their_text_encoder(tmp_path):
    assert shipped_embeddings("c/w", tmp_path) is None
    save_embeddings(table_path("c/w", tmp_path), embeddings(["car"]))
    assert shipped_embeddings("c/w", tmp_path).prompts == ("car",)
