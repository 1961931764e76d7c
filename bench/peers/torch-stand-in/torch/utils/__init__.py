"""See torch."""

from . import data as data
