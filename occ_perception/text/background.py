"""What else there is in a scene: words that claim the voxels which no prompt fits."""

from __future__ import annotations

from collections.abc import Sequence

from occ_perception.text.embeddings import TextEmbeddings
from occ_perception.text.vocabulary import Vocabulary

SOMETHING_ELSE = "something else"  # name of the class of such voxels: occupied, by what is not said
NO_BACKGROUND = ("none",)


def rival_words(
    prompts: Sequence[str], scene: Vocabulary, vectors: TextEmbeddings
) -> tuple[str, ...]:
    """The words of a scene that mean other classes than the prompts do.

    A prompt means the class that lists it, or else that of the word most similar to it; further
    words of this class are names of the same thing and must not speak against the prompt.

    Args:
        prompts: What is looked for.
        scene: Words for everything that a scene may hold.
        vectors: Holds a vector for each of them, and for the prompts.
    """
    classes = dict(zip(scene.prompts, scene.class_ids, strict=True))
    likeness = vectors.find(prompts) @ vectors.find(scene.prompts).T
    nearest = [scene.class_ids[i] for i in likeness.argmax(dim=1).tolist()]
    meant = {classes.get(prompt, near) for prompt, near in zip(prompts, nearest, strict=True)}
    return tuple(word for word, class_id in classes.items() if class_id not in meant)
