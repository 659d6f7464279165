"""Where counters live. `base` is the port; every other module implements it or wraps another implementation."""
