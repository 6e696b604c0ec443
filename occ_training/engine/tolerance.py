"""Damaged samples: passed over, counted, and too many of them are an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from torch.utils.data import Dataset

from occ_perception.core.errors import OccError

T = TypeVar("T")
B = TypeVar("B")
_TRIES = 16


class Loaded(NamedTuple, Generic[T]):
    """A sample or a batch, and what could not be read on the way to it.

    Attributes:
        value: Sample or batch.
        failures: One sentence per damaged sample.
    """

    value: T
    failures: tuple[str, ...]


class DataError(OccError):
    """Too much of the training data is damaged."""

    reason = "bad data"


class TolerantDataset(Dataset[Loaded[T]], Generic[T]):
    """Takes the next whole sample in place of a damaged one; which one that is, is no chance.

    Args:
        dataset: Raises `OccError` where a sample is damaged.
    """

    def __init__(self, dataset: Dataset[T]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Loaded[T]:
        """A sample.

        Raises:
            DataError: A whole stretch of the data is damaged.
        """
        failures: list[str] = []
        for offset in range(min(_TRIES, len(self))):
            try:
                sample = self.dataset[(index + offset) % len(self)]
            except OccError as error:
                failures.append(f"sample {(index + offset) % len(self)}: {error}")
            else:
                return Loaded(sample, tuple(failures))
        raise DataError(f"{len(failures)} samples in a row are damaged, first {failures[0]}")


class Collate(Generic[T, B]):
    """Makes a batch of samples and keeps what failed.

    Args:
        collate: Makes a batch of samples.
    """

    def __init__(self, collate: Callable[[Sequence[T]], B]) -> None:
        self._collate = collate

    def __call__(self, items: Sequence[Loaded[T]]) -> Loaded[B]:
        """A batch."""
        failures = tuple(failure for item in items for failure in item.failures)
        return Loaded(self._collate([item.value for item in items]), failures)


class FailureCount:
    """Counts damaged samples by their number, each once.

    Args:
        limit: How many are tolerated.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.seen: set[str] = set()

    def add(self, failures: Sequence[str]) -> None:
        """Count the failures of a batch.

        Raises:
            DataError: There are more than the limit.
        """
        self.seen.update(failures)
        if len(self.seen) > self._limit:
            raise DataError(
                f"{len(self.seen)} damaged samples, {self._limit} are tolerated; "
                f"the last is {failures[-1]}"
            )
