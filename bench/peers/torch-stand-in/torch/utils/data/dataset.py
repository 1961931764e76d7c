"""See torch."""

from . import IterableDataset as IterableDataset
