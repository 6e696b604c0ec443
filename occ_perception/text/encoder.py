"""Prompts to vectors with CLIP's text encoder, whose weights open_clip brings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from occ_perception.core.errors import ConfigError
from occ_perception.text.embeddings import TextEmbeddings
from occ_perception.text.vocabulary import check_prompts

# OpenAI's weights were trained with its quick approximation of GELU.
MODEL, WEIGHTS = "ViT-B-16-quickgelu", "openai"
_SCENE_LEADS = ("there is a", "there is the", "this is a", "this is the", "this is one")
SCENE_TEMPLATES = tuple(f"{lead} {{}} in the scene." for lead in _SCENE_LEADS)


class TextEncoder:
    """CLIP's text encoder, loaded when it is first used.

    Args:
        device: Where it runs.
        model: open_clip's name of the model.
        weights: open_clip's name of the weights, or a file.
    """

    def __init__(
        self, device: torch.device | str = "cpu", model: str = MODEL, weights: str = WEIGHTS
    ) -> None:
        self._device, self._model, self._weights = torch.device(device), model, weights

    @property
    def clip(self) -> str:
        """Name that is stored with embeddings."""
        return f"{self._model}/{self._weights}"

    @cached_property
    def _network(self) -> nn.Module:
        network = _open_clip().create_model(self._model, pretrained=self._weights)
        return network.eval().to(self._device)

    @cached_property
    def _tokenizer(self):
        return _open_clip().get_tokenizer(self._model)

    def templates(self) -> tuple[str, ...]:
        """CLIP's 80 templates for ImageNet and five about scenes, with `{}` for the words."""
        return (*(t("{}") for t in _open_clip().OPENAI_IMAGENET_TEMPLATES), *SCENE_TEMPLATES)

    def encode(self, prompts: Sequence[str], *, templates: bool = True) -> TextEmbeddings:
        """Unit vectors of prompts.

        Args:
            prompts: Words to look for.
            templates: Average over all templates, as every published number was made.

        Raises:
            ConfigError: A prompt is not usable, or open_clip is not installed.
        """
        check_prompts(prompts)
        patterns = self.templates() if templates else ("{}",)
        vectors = [self._mean_vector([p.format(prompt) for p in patterns]) for prompt in prompts]
        return TextEmbeddings(self.clip, templates, tuple(prompts), torch.stack(vectors))

    @torch.no_grad()
    def _mean_vector(self, texts: Sequence[str]) -> Float[Tensor, " c"]:
        tokens = self._tokenizer(list(texts)).to(self._device)
        vectors = F.normalize(self._network.encode_text(tokens).float(), dim=-1)
        return F.normalize(vectors.mean(dim=0), dim=-1)


def _open_clip():
    try:
        import open_clip
    except ImportError:
        raise ConfigError(
            "encoding new prompts needs open_clip; install it with "
            "pip install 'occ_perception[text]', or use prompts whose embeddings are stored"
        ) from None
    return open_clip
