"""What a server is told: flags first, then RLS_* variables, then defaults."""

from rls.settings.envoyproxy import left_over
from rls.settings.read import flag, not_settings, outdated, read, variable
from rls.settings.schema import PREFIX, Flag, Settings
from rls.settings.values import SCHEMES, BackendUrl, duration_text, redacted

__all__ = [
    "PREFIX",
    "SCHEMES",
    "BackendUrl",
    "Flag",
    "Settings",
    "duration_text",
    "flag",
    "left_over",
    "not_settings",
    "outdated",
    "read",
    "redacted",
    "variable",
]
