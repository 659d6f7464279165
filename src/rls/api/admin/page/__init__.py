"""The page for people, and what serves it."""
