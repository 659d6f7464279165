"""The port of rule sources, and how sources from elsewhere are found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias, runtime_checkable

from rls import plugins
from rls.engine.layers import Layer
from rls.errors import SettingsError

GROUP = "rls.sources"

Publish: TypeAlias = Callable[[Layer], Awaitable[object]]
"""Takes a layer; done when it is in force, rejected, or dropped for a later one."""


@runtime_checkable
class RuleSource(Protocol):
    """Offers layers of rules: each is all that the source says at one time, with its revision and its diagnostics.

    All methods run on the loop. Work in Python that takes longer than a millisecond goes through `rls.slices`, or into
    another process. What a source cannot read or understand is a diagnostic of its layer, never an exception; a layer
    of which nothing can be used is `rejected`.

    A distribution adds a source by an entry point in the group `rls.sources`. The name of the entry point is the scheme
    of the URLs in `--config` that it serves (`http` for `http://rules.example/all`), and it refers to a callable that takes
    the URL and returns a `RuleSource`. Plain paths are files. The layers of files lie below those of URLs, and these lie in
    the order in which `--config` gives them: a later layer overrides rules of an earlier one, and adds others.

    Attributes:
        polled_at: When the source last knew that its layer was the newest, in Unix seconds; 0 before that. If it is too
            old, the enforcement state is degraded. A source that gets changes pushed returns the current time while it
            is connected.
    """

    @property
    def polled_at(self) -> float: ...

    async def start(self) -> Layer:
        """The first layer; called once, before `run`. A source that cannot be reached returns a rejected layer.

        Raises:
            SettingsError: The settings name something that does not exist, so the server must not start.
        """

    async def run(self, publish: Publish) -> None:
        """Publish a layer for each change, and for each request; until cancelled.

        An exception is a bug: the rules stay, the enforcement state is degraded, and after a pause `request` and `run` are
        called again.
        """

    def request(self) -> None:
        """Read all again and publish it, though nothing seems to have changed (SIGHUP). Returns at once."""


def open_source(url: str) -> RuleSource:
    """The source that serves *url*.

    Raises:
        SettingsError: No distribution that is installed serves its scheme.
    """
    scheme = url.partition("://")[0]
    point = plugins.find(GROUP, scheme)
    if point is None:
        known = ", ".join(f"{other.name}://" for other in plugins.points(GROUP)) or "none"
        raise SettingsError(f"no source of rules serves {scheme}:// (installed: {known}), expected a path")
    source: RuleSource = plugins.make(point, RuleSource, url)
    return source
