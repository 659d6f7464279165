"""The settings of a server: flags first, then RLS_* variables, then defaults."""

from rls.settings.envoyproxy import left_over
from rls.settings.read import deprecated, read, unknown_variables
from rls.settings.renamed import RENAMED, Given, old_flag
from rls.settings.schema import PREFIX, Flag, Settings, flag, variable
from rls.settings.values import BackendUrl, duration_text

__all__ = [
    "PREFIX",
    "RENAMED",
    "BackendUrl",
    "Flag",
    "Given",
    "Settings",
    "deprecated",
    "duration_text",
    "flag",
    "left_over",
    "old_flag",
    "read",
    "unknown_variables",
    "variable",
]
