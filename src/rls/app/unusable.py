"""Settings whose value turns out to be of no use when it is put to use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rls.errors import SettingsError, UnusableSetting


@contextmanager
def value_of(setting: str) -> Iterator[None]:
    """While the value of *setting* is put to use.

    Raises:
        UnusableSetting: It cannot be.
    """
    try:
        yield
    except SettingsError as error:
        raise UnusableSetting(setting, str(error)) from error
