"""gRPC in the loop's own thread, on the HTTP/2 core of `transport.http2`."""
