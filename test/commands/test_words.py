import pytest
import torch

from occ_perception.commands.words import embed, main, reducer
from occ_perception.core.errors import ConfigError, WeightsError
from occ_perception.systems.langocc.reducer import ClipReducer
from occ_perception.text.embeddings import load_embeddings
from occ_training.labels.maskclip import load_reducer
from occ_training.recipes.clip_reducer import read_reducer


@pytest.fixture
def words(tmp_path):
    target = tmp_path / "words.safetensors"
    assert main(["embed", "toy_world", str(target), "--encoder", "toy", "--words", "lorry"]) == 0
    return target


def test_the_words_of_a_vocabulary_and_more_are_kept(words):
    found = load_embeddings(words, "toy text encoder")
    assert {"car", "bus shelter", "lorry"} <= set(found.prompts)
    assert found.vectors.shape[1] == 128 and not found.templates
    lorry, truck, car = found.find(["lorry", "truck", "car"])
    assert lorry @ truck > 0.9 > 0.5 > lorry @ car


def test_a_reducer_is_shared_by_teacher_and_training(words, tmp_path):
    target = tmp_path / "reducer.safetensors"
    assert reducer(words, target, channels=24) == 0
    teachers, trained = load_reducer(target), ClipReducer(128, 24)
    read_reducer(trained, target)
    assert torch.equal(teachers.U, trained.U)
    vectors = load_embeddings(words).vectors
    with torch.no_grad():
        back = trained.reconstruct(trained(vectors))
    assert (back * vectors).sum(dim=1).mean() > 0.9
    with pytest.raises(WeightsError, match="this network's is"):
        read_reducer(ClipReducer(128, 30), target)


def test_an_unknown_vocabulary_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="shipped: "):
        embed("nothing", tmp_path / "w.safetensors", encoder="toy")
