"""The rules' YAML: read, checked and watched."""

from rls.config.load import Loaded, load
from rls.config.schema import json_schema
from rls.config.watch import watch

__all__ = ["Loaded", "json_schema", "load", "watch"]
