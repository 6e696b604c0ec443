"""Official weights files we know of: where they come from, what they are, under which licence.

`bytes` and `sha256` are None where the authors publish neither; such a file is still converted
strictly by key and shape, and its hash is written into the side file.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownFile:
    """One file that somebody else publishes.

    Attributes:
        name: File name as published.
        system: Our system that uses it.
        role: What it is for.
        origin: Where to get it.
        licence: Licence of the weights, or what is known of it.
        bytes: Size, if published.
        sha256: Hash, if published.
    """

    name: str
    system: str
    role: str
    origin: str
    licence: str
    bytes: int | None = None
    sha256: str | None = None


KNOWN_FILES: tuple[KnownFile, ...] = (
    KnownFile(
        name="checkpoint.pth",
        system="vlscene",
        role="whole network, SemanticKITTI",
        origin="link in the README of github.com/willemeng/VLScene",
        licence="GPL-3.0 code; SemanticKITTI is CC BY-NC-SA",
    ),
    KnownFile(
        name="repvit_m2_3_distill_300e.pth",
        system="vlscene",
        role="start of the image backbone for training (ImageNet)",
        origin="releases of github.com/THU-MIG/RepViT",
        licence="see its repository; check before redistributing",
    ),
    KnownFile(
        name="demo_e200.ckpt",
        system="vlscene",
        role="LSeg teacher, training only",
        origin="README of github.com/isl-org/lang-seg",
        licence="see its repository; check before redistributing",
    ),
)


def find_known(name: str) -> KnownFile | None:
    """The table's entry for a file name, or None."""
    return next((entry for entry in KNOWN_FILES if entry.name == name), None)
