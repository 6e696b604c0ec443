"""Networks of the `transformers` library: from a folder on this machine, weights as safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from occ_perception.core.errors import ConfigError

_RELATIVE = ("dpt", "prompt_depth_anything")  # their answers are no metres


def load_pretrained(kind: str, name: str, *, download: bool = False, hint: str = "") -> Any:
    """A network, processor or tokenizer.

    Nothing but safetensors is read, and no code of the model's own is run.

    Args:
        kind: Class of `transformers`, e.g. "AutoModelForDepthEstimation".
        name: Folder, or name on the hub of a model that was downloaded before.
        download: Ask the hub for what is not on this machine.
        hint: What else the user may do if it is not there.

    Raises:
        ConfigError: transformers is not installed, or the model is not on this machine or is no
            such model.
    """
    try:
        import transformers
    except ImportError:
        raise ConfigError(
            "this model needs the package transformers; install it with pip install transformers"
        ) from None
    options: dict[str, Any] = {"local_files_only": not download, "trust_remote_code": False}
    is_network = "Model" in kind or "For" in kind
    if is_network:
        options |= {"use_safetensors": True, "output_loading_info": True}
    try:
        found = getattr(transformers, kind).from_pretrained(name, **options)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        where = "folder" if Path(name).exists() else "model"
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"{where} '{name}' holds no {kind} that can be used ({reason}); give a folder with "
            f"config.json and model.safetensors{hint}"
        ) from None
    if not is_network:
        return found
    network, info = found
    if missing := sorted(info["missing_keys"]):
        raise ConfigError(
            f"the weights of '{name}' lack {len(missing)} tensors of its network, the first "
            f"is {missing[0]}: they belong to another model; give a folder as it was saved{hint}"
        )
    return network


def check_metric(config: Any) -> None:
    """Refuse models whose depth is known up to an unknown scale only.

    Args:
        config: Of a depth model of `transformers`.

    Raises:
        ConfigError: The model's answers are no metres.
    """
    kind = getattr(config, "depth_estimation_type", "")
    if kind == "relative" or config.model_type in _RELATIVE:
        raise ConfigError(
            f"this {config.model_type} model gives relative depth; give one that was trained for "
            "metres, e.g. Depth Anything V2 Metric Outdoor, ZoeDepth or Depth Pro"
        )
