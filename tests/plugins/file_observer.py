"""An observer from elsewhere: it writes a line for each event into the file that `OBSERVED` names."""

import os

from rls.engine.events import Observer, RequestContext, RulesLoaded
from rls.stores.base import StoreBatch


class FileObserver(Observer):
    """Writes what it hears."""

    def decided(self, request: RequestContext) -> None:
        """See `Observer`."""
        self._write(f"check {request.id} {request.decision.code.name}")

    def batch_done(self, batch: StoreBatch) -> None:
        """See `Observer`."""
        ids = [str(origin.id) for origin in batch.origins if isinstance(origin, RequestContext)]
        if ids:
            self._write(f"batch {' '.join(ids)} {batch.counts[0]}")

    def rules_loaded(self, event: RulesLoaded) -> None:
        """See `Observer`."""
        self._write(f"rules {event.rules.revision}")

    def _write(self, line: str) -> None:
        with open(os.environ["OBSERVED"], "a") as file:  # noqa: PTH123 - a line is short, and a test waits for it
            file.write(f"{line}\n")
