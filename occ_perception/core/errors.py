"""Errors of this package: one sentence each that names the thing, the place and the cure."""

from typing import ClassVar


class OccError(Exception):
    """Base of every error that the package raises on purpose; its text is meant for the user.

    Attributes:
        reason: A phrase for the kind of error, to count by; the text names the particular case.
    """

    reason: ClassVar[str] = "error"


class ImageError(OccError):
    """An image message or file cannot be used (encoding, size, truncated buffer)."""

    reason = "bad image"


class CalibrationError(OccError):
    """A camera matrix, distortion or extrinsic transform cannot be used."""

    reason = "bad calibration"


class TransformError(OccError):
    """A transform is missing, too old, or the frames are not connected."""

    reason = "no transform"


class SyncError(OccError):
    """Stamps or sources handed to the synchroniser are not usable."""

    reason = "bad synchronisation"


class WeightsError(OccError):
    """A weights file is missing, damaged, unsafe or belongs to another model."""

    reason = "bad weights"


class ConfigError(OccError):
    """A parameter or configuration value is unknown, of the wrong type or out of range."""

    reason = "bad configuration"


class BagError(OccError):
    """A bag cannot be opened, lacks a topic or holds undecodable messages."""

    reason = "bad bag"


class UnclearCamerasError(BagError):
    """A bag has none or several of the cameras that are wanted: somebody has to name them."""


class PredictionError(OccError):
    """A system's output cannot be published (wrong shape, NaN, wrong ids)."""

    reason = "bad prediction"
