"""See torch. Items come in order, in the same process, as with torch's default of no worker processes."""

from typing import Generic, TypeVar

Item = TypeVar("Item")


def get_worker_info() -> None:
    return None


class IterableDataset(Generic[Item]):
    pass


class DataLoader(Generic[Item]):
    def __init__(self, dataset, collate_fn, **_):
        self.dataset = dataset
        self.collate_fn = collate_fn

    def __iter__(self):
        for item in self.dataset:
            yield self.collate_fn([item])
