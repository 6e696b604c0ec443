"""`occ words`: vectors of words, and the small space that LangOcc Reduced learns them in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from tyro.conf import Positional, arg

DESCRIPTION = """Vectors of the words that LangOcc is asked for.

Examples:
  occ words embed occ3d_v1 words.safetensors          (CLIP's text encoder, 85 templates per prompt)
  occ words reducer words.safetensors reducer.safetensors
  occ label maskclip bags/scene-0103 layers --weights clip.safetensors --reducer reducer.safetensors
  occ train langocc --preset reduced --training.reducer.weights reducer.safetensors ..."""


def main(arguments: Sequence[str]) -> int:
    """Run `occ words`."""
    return tyro.extras.subcommand_cli_from_dict(
        {"embed": embed, "reducer": reducer},
        prog="occ words",
        description=DESCRIPTION,
        args=list(arguments) or ["--help"],
    )


def embed(
    vocabulary: Annotated[Positional[str], arg(metavar="VOCABULARY")],
    target: Annotated[Positional[Path], arg(metavar="FILE")],
    encoder: Literal["clip", "toy"] = "clip",
    words: tuple[str, ...] = (),
    templates: bool = True,
    channels: int = 128,
) -> int:
    """Encode a vocabulary's prompts and keep their vectors.

    Args:
        vocabulary: Name of a shipped vocabulary, e.g. occ3d_v1.
        target: File to write, ending in .safetensors.
        encoder: CLIP's ViT-B/16 by open_clip, or the procedural world's.
        words: Further words or phrases, each an argument.
        templates: Average over CLIP's templates, as every published number was made.
        channels: With --encoder toy: values per word; the nano preset's are 128.
    """
    from occ_perception.text.embeddings import save_embeddings
    from occ_perception.text.encoder import TextEncoder
    from occ_perception.text.vocabulary import load_vocabulary
    from occ_training.labels.toy_text import ToyTextEncoder

    texts = tuple(dict.fromkeys((*load_vocabulary(vocabulary).prompts, *words)))
    asked = TextEncoder() if encoder == "clip" else ToyTextEncoder(channels)
    made = asked.encode(texts, templates=templates and encoder == "clip")
    save_embeddings(target, made)
    _say(f"{target}: {len(texts)} words of {made.clip}, {made.vectors.shape[1]} values each")
    return 0


def reducer(
    words: Annotated[Positional[Path], arg(metavar="WORDS")],
    target: Annotated[Positional[Path], arg(metavar="FILE")],
    channels: int = 128,
    seed: int = 0,
) -> int:
    """Fit LangOcc's reducer to words; label layers and a training must share one.

    Args:
        words: Vectors that `occ words embed` wrote.
        target: File to write, ending in .safetensors.
        channels: Values per word in the small space; the published one has 128.
        seed: Of the random start.
    """
    import torch

    from occ_perception.systems.langocc.reducer import ClipReducer
    from occ_perception.text.embeddings import load_embeddings
    from occ_training.recipes.clip_reducer import train_reducer, write_reducer

    known = load_embeddings(words)
    torch.manual_seed(seed)
    made = ClipReducer(known.vectors.shape[1], channels)
    losses = train_reducer(made, known.vectors)
    write_reducer(target, made, known)
    _say(f"{target}: angle between words and what is left of them {losses[-1] / 10:.3f} rad")
    return 0


def _say(text: str) -> None:
    Console(highlight=False).print(text, soft_wrap=True)
