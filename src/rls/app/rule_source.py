"""One source of rules, whose failures end nothing: it may come from another distribution."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from rls.addresses import redacted
from rls.engine.layers import Layer
from rls.errors import RlsError, SettingsError, origin
from rls.sources.base import Publish, RuleSource

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds until a source that failed is run again; twice as long after each failure, until it publishes."""


class SupervisedSource:
    """*source*, called *name*.

    Args:
        name: For users; passwords in it are not shown.
        source: Called by this object only.
        on_change: Called when `failure` changes, with the error or None.

    Attributes:
        failure: Why it failed; "" unless its rules may be old.
    """

    def __init__(
        self, name: str, source: RuleSource, on_change: Callable[[str, BaseException | None], None] = lambda _, __: None
    ) -> None:
        self.name = redacted(name)
        self.failure = ""
        self._source = source
        self._on_change = on_change
        self._polled_at = 0.0
        self._pause = FIRST_PAUSE

    async def start(self) -> Layer:
        """See `RuleSource`.

        Raises:
            SettingsError: It raised this, or anything else, which the text names.
        """
        try:
            return await self._source.start()
        except RlsError:
            raise
        except Exception as error:
            raise SettingsError(
                f"the source of rules {self.name} cannot start: {error!r} in {origin(error)}"
            ) from error

    async def run(self, publish: Publish) -> None:
        """Run it until cancelled: if it fails or ends, again after a pause. Then it publishes what it has."""

        async def publish_and_recover(layer: Layer) -> object:
            published = await publish(layer)
            self._pause = FIRST_PAUSE
            self._fail("", None)
            return published

        while True:
            error: Exception | None = None
            try:
                await self._source.run(publish_and_recover)
            except Exception as raised:  # noqa: BLE001 - a bug of the source
                error = raised
            why = "it ended" if error is None else f"{type(error).__name__} in {origin(error)}"
            self._fail(
                f"the source of rules {self.name} failed ({why}); its last good rules stay, and it is run again", error
            )
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self.request()

    def request(self) -> None:
        """See `RuleSource`."""
        try:
            self._source.request()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(
                f"the source of rules {self.name} cannot load again: {type(error).__name__} in {origin(error)}", error
            )

    @property
    def polled_at(self) -> float:
        """See `RuleSource`; what it said last where it cannot say."""
        try:
            self._polled_at = self._source.polled_at
        except Exception as error:  # noqa: BLE001 - as above
            self._polled_at = self._polled_at or time.time()
            self._fail(
                f"the source of rules {self.name} does not say how old its rules are: {type(error).__name__} in "
                f"{origin(error)}",
                error,
            )
        return self._polled_at

    def _fail(self, failure: str, error: BaseException | None) -> None:
        if failure != self.failure:
            self.failure = failure
            self._on_change(failure, error)
