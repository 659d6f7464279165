"""What a rate limit is: values in, values out. No I/O, no clock, no logging, no protobuf, no third-party import."""
