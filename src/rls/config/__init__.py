"""The rules' YAML: text → rules and diagnostics."""
