"""The composition root: settings → a running service."""
