"""The Istio Rate Limiter: Envoy's RateLimitService v3."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        # Reading the metadata costs more than all other imports of a small command: only when asked for.
        if name == "__version__":
            from importlib.metadata import version  # noqa: PLC0415

            return version("istio-rate-limiter")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
