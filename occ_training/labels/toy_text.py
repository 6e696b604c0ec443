"""The text half of the stand-in for CLIP in the procedural world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch

from occ_perception.text.embeddings import TextEmbeddings, save_embeddings
from occ_perception.text.vocabulary import Vocabulary, check_prompts, load_vocabulary
from occ_training.world.teachers import COLORS, SYNONYMS, TOY_TEXT_ENCODER, text_embedding


class ToyTextEncoder:
    """Answers like `text.encoder.TextEncoder`, in the space of the world's text-image features.

    Args:
        channels: Width of the space; 512 is CLIP's.
    """

    clip = TOY_TEXT_ENCODER

    def __init__(self, channels: int = 512) -> None:
        self.channels = channels

    def encode(self, prompts: Sequence[str], *, templates: bool = False) -> TextEmbeddings:
        """Unit vectors of prompts.

        Args:
            prompts: Words to look for.
            templates: Without effect: the words around a known one mean nothing to it.

        Raises:
            ConfigError: A prompt is not usable.
        """
        check_prompts(prompts)
        vectors = [torch.from_numpy(text_embedding(p, self.channels)) for p in prompts]
        return TextEmbeddings(self.clip, templates, tuple(prompts), torch.stack(vectors))


def known_words() -> tuple[str, ...]:
    """Every word that the world's retrieval may ask for: classes, synonyms, coloured things."""
    words = [name for names in SYNONYMS.values() for name in names]
    things = [names[0] for names in SYNONYMS.values()][:10]
    coloured = [f"{color} {thing}" for color, thing in product(COLORS, things)]
    return (*words, *coloured, "person near a wall")


def unseen_words(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Synonyms that a vocabulary has not: what a model can only know by their likeness."""
    names = [name for names in SYNONYMS.values() for name in names[1:]]
    return tuple(name for name in names if name not in vocabulary.prompts)


def write_table(path: Path, channels: int) -> TextEmbeddings:
    """Write the vectors of all words that are known, as they come with the package.

    Args:
        path: File to write; `text.shipped.table_path` says where it is looked for.
        channels: Width of the space; the nano preset's is 128.
    """
    words = dict.fromkeys((*load_vocabulary("toy_world").prompts, *known_words()))
    made = ToyTextEncoder(channels).encode(tuple(words))
    save_embeddings(path, replace(made, vectors=made.vectors.half()))
    return made
