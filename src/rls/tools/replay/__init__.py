"""Logs of requests, played again through rules on a simulated clock."""
