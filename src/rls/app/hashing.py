"""Settings → what stands for values of requests."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from rls.core.pseudonyms import Pseudonyms
from rls.errors import SettingsError
from rls.observe.metrics import Metrics
from rls.secret_files import read_secret


def open_pseudonyms(file: Path | None, keys: Collection[str]) -> Pseudonyms | None:
    """What hides values with the secret in *file*; None without one.

    Args:
        file: Holds the secret.
        keys: Keys of the entries whose values are hidden; none for all.

    Raises:
        SettingsError: The secret cannot be read, or is too short.
    """
    if file is None:
        return None
    try:
        return Pseudonyms(read_secret(file), keys or None)
    except OSError as error:
        raise SettingsError(f"cannot read the secret for digests in {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise SettingsError(
            f"cannot use the secret for digests in {file}: {error}; try `openssl rand -hex 32`"
        ) from error


def register_hashing_metric(metrics: Metrics, pseudonyms: Pseudonyms | None) -> None:
    """Add the id of the secret of *pseudonyms* to *metrics*; nothing where values are shown."""
    if pseudonyms is not None:
        metrics.register_gauge(
            "rls_hash_secret_info",
            "Always 1; the id of the secret with which values are hashed. Pods with other ids count apart.",
            lambda: {pseudonyms.secret_id: 1},
            "id",
        )
