"""Where rules come from: files."""
