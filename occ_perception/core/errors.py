"""Errors of this package: one sentence each that names the thing, the place and the cure."""


class OccError(Exception):
    """Base of every error that the package raises on purpose; its text is meant for the user."""


class ImageError(OccError):
    """An image message or file cannot be used (encoding, size, truncated buffer)."""


class CalibrationError(OccError):
    """A camera matrix, distortion or extrinsic transform cannot be used."""


class TransformError(OccError):
    """A transform is missing, too old, or the frames are not connected."""


class SyncError(OccError):
    """Stamps or sources handed to the synchroniser are not usable."""


class WeightsError(OccError):
    """A weights file is missing, damaged, unsafe or belongs to another model."""


class ConfigError(OccError):
    """A parameter or configuration value is unknown, of the wrong type or out of range."""


class BagError(OccError):
    """A bag cannot be opened, lacks a topic or holds undecodable messages."""


class PredictionError(OccError):
    """A system's output cannot be published (wrong shape, NaN, wrong ids)."""
