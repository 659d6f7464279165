"""The admin API: JSON for whoever is on call, and for the tools that show it. Everything here only reads."""
