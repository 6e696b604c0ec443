"""Vocabularies: which prompts stand for which class. One JSON data file each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from occ_perception.core.errors import ConfigError
from occ_perception.core.labels import load_label_map

_LONGEST = 200  # characters; CLIP reads 77 tokens at most
_MOST = 1000


@dataclass(frozen=True)
class Vocabulary:
    """Prompts and what they mean.

    Attributes:
        name: Name of the vocabulary.
        prompts: Words to look for.
        class_ids: Class id of every prompt, in the label map's ids.
    """

    name: str
    prompts: tuple[str, ...]
    class_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse what cannot be encoded.

        Raises:
            ConfigError: A prompt is empty or too long, or there are none or too many.
        """
        check_prompts(self.prompts)
        if len(self.class_ids) != len(self.prompts):
            raise ConfigError(
                f"vocabulary '{self.name}' has {len(self.prompts)} prompts, but "
                f"{len(self.class_ids)} class ids"
            )

    def ids(self, device: torch.device | str = "cpu") -> Int[Tensor, " n"]:
        """Class id of every prompt."""
        return torch.tensor(self.class_ids, device=device)

    def class_means(
        self, embeddings: Float[Tensor, "n c"]
    ) -> tuple[Float[Tensor, "k c"], Int[Tensor, " k"]]:
        """Mean vector of every class, and the class ids; a score with it is the mean score."""
        ids, which = self.ids(embeddings.device).unique(return_inverse=True)
        share = F.one_hot(which).to(embeddings)
        return (share / share.sum(dim=0)).T @ embeddings, ids


def check_prompts(prompts: Sequence[str]) -> None:
    """Refuse prompts that a text encoder cannot read.

    Raises:
        ConfigError: A prompt is empty, not text or too long, or there are none or too many.
    """
    if not 0 < len(prompts) <= _MOST:
        raise ConfigError(f"{len(prompts)} prompts were given; give 1 to {_MOST}")
    for prompt in prompts:
        if not isinstance(prompt, str) or not prompt.strip() or not prompt.isprintable():
            raise ConfigError(f"prompt {prompt!r} is not text; give words such as 'traffic cone'")
        if len(prompt) > _LONGEST:
            raise ConfigError(
                f"prompt '{prompt[:30]}...' has {len(prompt)} characters; write at most {_LONGEST}"
            )


def load_vocabulary(name: str) -> Vocabulary:
    """Read one of the shipped vocabularies by name.

    Raises:
        ConfigError: No vocabulary of that name is shipped.
    """
    folder = resources.files(__package__) / "vocabularies"
    path = folder / f"{name}.json"
    if not path.is_file():
        known = sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".json"))
        raise ConfigError(f"unknown vocabulary '{name}'; shipped: {', '.join(known)}")
    data = json.loads(path.read_text(encoding="utf-8"))
    labels = load_label_map(data["label_map"])
    pairs = [(p, labels.id_of(row["name"])) for row in data["classes"] for p in row["prompts"]]
    prompts, ids = zip(*pairs, strict=True)
    return Vocabulary(data["name"], prompts, ids)
