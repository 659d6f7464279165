"""Generated from protos/ by `make pb`."""
