"""How requests come in and answers go out: messages, gRPC over two servers, HTTP."""
