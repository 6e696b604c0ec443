"""Text embeddings on disk, so that known prompts need no text encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from occ_perception.core.errors import ConfigError

_KEY = "vectors"


@dataclass(frozen=True, eq=False)
class TextEmbeddings:
    """Prompts and their vectors.

    Attributes:
        clip: Which text encoder made them, e.g. "ViT-B-16-quickgelu/openai".
        templates: Whether each is the mean over the prompt templates.
        prompts: The prompts.
        vectors: `[n, c]` unit vectors, one per prompt.
    """

    clip: str
    templates: bool
    prompts: tuple[str, ...]
    vectors: Float[Tensor, "n c"]

    def __post_init__(self) -> None:
        """Refuse vectors that cannot be those of the prompts.

        Raises:
            ConfigError: Counts differ, or a vector is zero or not finite.
        """
        if len(self.prompts) != len(self.vectors):
            raise ConfigError(
                f"{len(self.vectors)} text embeddings for {len(self.prompts)} prompts"
            )
        if not bool((self.vectors.norm(dim=-1) > 1e-6).all() & self.vectors.isfinite().all()):
            raise ConfigError("text embeddings hold NaN, infinity or an empty vector")

    def find(self, prompts: Sequence[str]) -> Float[Tensor, "m c"]:
        """Unit vectors of some prompts.

        Raises:
            ConfigError: A prompt is not among them.
        """
        unknown = [prompt for prompt in prompts if prompt not in self.prompts]
        if unknown:
            raise ConfigError(
                f"no stored embedding for the prompt '{unknown[0]}'; stored are "
                f"{', '.join(self.prompts[:5])}, ...; install open_clip to encode new ones"
            )
        index = [self.prompts.index(prompt) for prompt in prompts]
        return F.normalize(self.vectors[index].float(), dim=-1)


def save_embeddings(path: Path, embeddings: TextEmbeddings) -> None:
    """Write embeddings as safetensors."""
    about = {
        "clip": embeddings.clip,
        "templates": json.dumps(embeddings.templates),
        "prompts": json.dumps(embeddings.prompts),
    }
    save_file({_KEY: embeddings.vectors.contiguous()}, path, metadata=about)


def load_embeddings(path: Path, clip: str | None = None) -> TextEmbeddings:
    """Read embeddings.

    Args:
        path: File written by `save_embeddings`.
        clip: Text encoder that they must be from, None = any.

    Raises:
        ConfigError: The file is missing, damaged, not of this kind, or from another CLIP.
    """
    if not path.is_file():
        raise ConfigError(f"text embeddings '{path}' do not exist; make them or install open_clip")
    try:
        with safe_open(path, framework="pt") as file:
            about, vectors = file.metadata() or {}, file.get_tensor(_KEY)
        found = TextEmbeddings(
            about["clip"],
            bool(json.loads(about["templates"])),
            tuple(json.loads(about["prompts"])),
            vectors.to(torch.float32),
        )
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise ConfigError(f"'{path.name}' holds no text embeddings ({error})") from None
    if clip is not None and found.clip != clip:
        raise ConfigError(
            f"'{path.name}' was made with {found.clip}, this model speaks {clip}; "
            "encode the prompts again"
        )
    return found
