"""The rules' YAML: read, checked and watched."""

from rls.config.load import Loaded, load
from rls.config.schema import json_schema

__all__ = ["Loaded", "json_schema", "load"]
