"""See torch."""

from . import DataLoader as DataLoader
