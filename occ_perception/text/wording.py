"""From words that somebody wants found to a vocabulary, a label map and vectors."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from occ_perception.core.errors import ConfigError
from occ_perception.core.labels import LabelMap, load_label_map
from occ_perception.text.background import NO_BACKGROUND, SOMETHING_ELSE, rival_words
from occ_perception.text.embeddings import TextEmbeddings, load_embeddings
from occ_perception.text.encoder import TextEncoder
from occ_perception.text.shipped import shipped_embeddings
from occ_perception.text.vocabulary import Vocabulary, check_prompts, load_vocabulary

_MOST = 250  # ids are uint8, two of them are free and unknown
_GOLDEN = 0.618034  # hues that follow each other by it stay apart
_GREY = (150, 150, 150)  # of what no prompt fits

Encode = Callable[[Sequence[str]], TextEmbeddings]


@dataclass(frozen=True, eq=False)
class Wording:
    """Words, what their ids mean, and their vectors.

    Attributes:
        words: What is looked for.
        vocabulary: These words, those for everything else, and the ids that stand for them.
        labels: Meaning of the ids.
        embeddings: Holds a vector for every word of the vocabulary.
        concern: What a user should be warned of; empty = nothing.
    """

    words: tuple[str, ...]
    vocabulary: Vocabulary
    labels: LabelMap
    embeddings: TextEmbeddings
    concern: str = ""


class Wordings:
    """Makes wordings for one model.

    Args:
        vocabulary: Name of the shipped vocabulary that is in force without other words.
        label_map: Name of its label map; free and unknown keep their ids.
        table: Stored vectors, or None.
        encode: Text encoder for words that are not stored.
        background: Words for everything that is not looked for; empty = those of the vocabulary
            that mean other classes than the prompts, "none" = there is nothing else.
    """

    def __init__(
        self,
        vocabulary: str,
        label_map: str,
        table: TextEmbeddings | None,
        encode: Encode,
        background: Sequence[str] = (),
    ) -> None:
        self._default = load_vocabulary(vocabulary)
        self._labels = load_label_map(label_map)
        self._table = table
        self._encode = encode
        self._background = tuple(background)
        if self._background:
            check_prompts(self._background)

    def of(self, words: Sequence[str]) -> Wording:
        """The wording of some words; of none, the vocabulary's.

        Where a prompt is the best of few words it need not fit: voxels that a word of the
        background fits better become "something else", occupied without a class of the prompts.

        Raises:
            ConfigError: A word is not usable, given twice, or there is no vector for it.
        """
        if not words:
            every = self._default.prompts
            return Wording(every, self._default, self._labels, self.vectors(every))
        check_prompts(words)
        if len(set(words)) < len(words):
            raise ConfigError(f"a prompt is given twice in {', '.join(words)}; name each once")
        if len(words) > _MOST:
            raise ConfigError(f"{len(words)} prompts were given, voxels tell {_MOST} apart")
        vectors = self.vectors(words)
        background, vectors, concern = self._with_background(words, vectors)
        reserved = {self._labels.free_id, self._labels.unknown_id}
        *ids, other = [i for i in range(256) if i not in reserved][: len(words) + 1]
        name = f"prompts_{zlib.crc32(chr(0).join(words).encode()):08x}"
        vocabulary = Vocabulary(name, (*words, *background), (*ids, *(other for _ in background)))
        labels = self._meaning(name, words, ids, other if background else None)
        return Wording(tuple(words), vocabulary, labels, vectors, concern)

    def _with_background(
        self, words: Sequence[str], vectors: TextEmbeddings
    ) -> tuple[tuple[str, ...], TextEmbeddings, str]:
        """Words for everything else, vectors of them too, and why there are none."""
        if self._background == NO_BACKGROUND:
            return (), vectors, ""
        try:
            scene = self._scene
        except ConfigError as error:
            if self._background:
                raise
            return (), vectors, f"every occupied voxel gets one of the prompts: {error}"
        known = _joined(vectors, scene)
        if self._background:
            return tuple(w for w in scene.prompts if w not in words), known, ""
        return rival_words(words, self._default, known), known, ""

    @cached_property
    def _scene(self) -> TextEmbeddings:
        """Vectors of the words for everything that a scene may hold, made once."""
        every = self._background or self._default.prompts
        found = self.vectors(every)
        return TextEmbeddings(found.clip, found.templates, every, found.find(every))

    def vectors(self, words: Sequence[str]) -> TextEmbeddings:
        """Vectors of words, stored ones first.

        Raises:
            ConfigError: A word is not stored and cannot be encoded here.
        """
        table = self._table
        missing = [word for word in words if table is None or word not in table.prompts]
        if not missing and table is not None:
            return table
        try:
            made = self._encode(missing)
        except ConfigError as error:
            known = ", ".join(table.prompts[:8]) + ", ..." if table else "none"
            raise ConfigError(f"no vector for '{missing[0]}': {error}; stored: {known}") from None
        kept = tuple(word for word in words if word not in missing)
        if table is None or not kept:
            return made
        return _joined(made, TextEmbeddings(table.clip, table.templates, kept, table.find(kept)))

    def _meaning(
        self, name: str, words: Sequence[str], ids: Sequence[int], other: int | None
    ) -> LabelMap:
        """A label map of the words; what is not known not to block, blocks."""
        classes = dict(zip(self._default.prompts, self._default.class_ids, strict=True))
        blocking, palette = self._labels.blocking(), self._labels.palette()
        rows = []
        for number, (word, i) in enumerate(zip(words, ids, strict=True)):
            known = classes.get(word)
            hue = (number * _GOLDEN) % 1.0
            bright = tuple(round(255 * v) for v in colorsys.hsv_to_rgb(hue, 0.75, 0.95))
            colour = bright if known is None else tuple(palette[known].tolist())
            rows.append((i, word, colour, known is None or bool(blocking[known])))
        if other is not None:
            rows.append((other, SOMETHING_ELSE, _GREY, True))
        free = self._labels.free_id
        rows = sorted([*rows, (free, "free", tuple(palette[free].tolist()), False)])
        return LabelMap(
            name=name,
            ids=tuple(row[0] for row in rows),
            names=tuple(row[1] for row in rows),
            colors_rgb=tuple(row[2] for row in rows),
            free_id=free,
            unknown_id=self._labels.unknown_id,
            blocking_ids=tuple(row[0] for row in rows if row[3]),
        )


def _joined(first: TextEmbeddings, second: TextEmbeddings) -> TextEmbeddings:
    """The words of two tables, each once."""
    more = tuple(word for word in second.prompts if word not in first.prompts)
    if not more:
        return first
    both = torch.cat([first.vectors, second.find(more).to(first.vectors)])
    return TextEmbeddings(first.clip, first.templates, (*first.prompts, *more), both)


def wordings_of(
    config: Any, label_map: str, embeddings: str, device: str, background: Sequence[str] = ()
) -> Wordings:
    """What turns words into vectors for a model.

    Args:
        config: The model's configuration: `clip` and `vocabulary`.
        label_map: Name of the vocabulary's label map.
        embeddings: File of stored vectors; empty = the shipped ones.
        device: Where a text encoder would run.
        background: Words for everything that is not looked for; see `Wordings`.

    Raises:
        ConfigError: The file cannot be used.
    """
    stored = load_embeddings(Path(embeddings).expanduser(), config.clip) if embeddings else None
    model, _, weights = config.clip.partition("/")
    encoder = TextEncoder(device, model, weights) if weights else None

    def encode(words: Sequence[str]) -> TextEmbeddings:
        if encoder is None:
            raise ConfigError(f"{config.clip} cannot be asked here, its words are a fixed list")
        return encoder.encode(words)

    table = stored or shipped_embeddings(config.clip)
    return Wordings(config.vocabulary, label_map, table, encode, background)


def put_into_force(system: Any, wording: Wording) -> None:
    """Let a system look for words; its label map says what their ids mean."""
    system.set_prompts(wording.vocabulary, wording.embeddings)
    system.labels = wording.labels
