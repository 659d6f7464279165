"""gRPC on grpc.aio, the reference."""
