"""The rules' YAML: read, checked and watched."""

from rls.config.envoyproxy import differences
from rls.config.files import missing
from rls.config.load import Loaded, load
from rls.config.loader import Loader
from rls.config.schema import json_schema

__all__ = ["Loaded", "Loader", "differences", "json_schema", "load", "missing"]
