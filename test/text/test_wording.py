"""From words to ids, colours and vectors."""

import pytest
import torch

from occ_perception.core.errors import ConfigError
from occ_perception.core.labels import load_label_map
from occ_perception.text.background import SOMETHING_ELSE
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
    named = [labels.names[labels.ids.index(i)] for i in wording.vocabulary.class_ids]
    assert named[:2] == [*words] == [*wording.words] and set(named[2:]) == {SOMETHING_ELSE}
    assert (labels.free_id, labels.unknown_id) == (MAP.free_id, MAP.unknown_id)
    assert labels.palette()[labels.id_of("car")].tolist() == (
        MAP.palette()[MAP.id_of("car")].tolist()
    )
    assert labels.id_of("dragon") in labels.blocking_ids  # nobody says that one may drive through


def background_of(wording):
    return wording.vocabulary.prompts[len(wording.words) :]


def test_words_of_other_classes_speak_against_the_prompts(wordings):
    scene = load_vocabulary("occ3d_v1")
    car = {p for p, i in zip(scene.prompts, scene.class_ids, strict=True) if i == MAP.id_of("car")}
    wording = wordings.of(("car",))
    assert set(background_of(wording)) == set(scene.prompts) - car and len(car) == 10
    labels, other = wording.labels, wording.vocabulary.class_ids[-1]
    assert labels.names[labels.ids.index(other)] == SOMETHING_ELSE
    assert other in labels.blocking_ids and other not in (labels.free_id, labels.unknown_id)
    assert wording.embeddings.find(wording.vocabulary.prompts).shape == (67, 4)


def test_a_word_of_no_class_silences_the_class_that_it_is_most_similar_to():
    scene = load_vocabulary("occ3d_v1")
    table = embeddings(scene.prompts)
    rig = table.find(["truck"]) * 0.9 + 0.1
    table = TextEmbeddings("c/w", False, (*scene.prompts, "rig"), torch.cat([table.vectors, rig]))
    against = background_of(Wordings("occ3d_v1", "occ3d_nuscenes", table, refuse).of(("rig",)))
    assert "lorry" not in against and "truck" not in against and "car" in against


@pytest.mark.parametrize(
    ("background", "against"), [(("none",), ()), (("bus", "dragon", "car"), ("bus", "dragon"))]
)
def test_the_background_may_be_named_or_left_out(background, against):
    table = embeddings(["car", "bus", "dragon"])
    wording = Wordings("occ3d_v1", "occ3d_nuscenes", table, refuse, background).of(("car",))
    assert background_of(wording) == against and not wording.concern
    assert (SOMETHING_ELSE in wording.labels.names) == bool(against)


def test_a_background_without_vectors_is_missed_but_no_word():
    table = embeddings(["car"])
    wording = Wordings("occ3d_v1", "occ3d_nuscenes", table, refuse).of(("car",))
    assert background_of(wording) == () and "gets one of the prompts" in wording.concern
    with pytest.raises(ConfigError, match="no vector for 'bus'"):
        Wordings("occ3d_v1", "occ3d_nuscenes", table, refuse, ("bus",)).of(("car",))


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

    none = Wordings("occ3d_v1", "occ3d_nuscenes", table, encode, ("none",))
    found = none.of(("car", "yak")).embeddings
    assert made == [("yak",)]
    assert sorted(found.prompts) == ["car", "yak"]
    torch.testing.assert_close(found.find(["car"]), table.find(["car"]))


def test_tables_are_found_by_their_text_encoder(tmp_path):
    assert shipped_embeddings("c/w", tmp_path) is None
    save_embeddings(table_path("c/w", tmp_path), embeddings(["car"]))
    assert shipped_embeddings("c/w", tmp_path).prompts == ("car",)
