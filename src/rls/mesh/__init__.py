"""What the proxies of a mesh do with rate limits, read from their config dumps.

`dump.read` makes a `Proxy` of a dump, `checks.findings` says what is wrong with proxies, `report` writes it.
"""
