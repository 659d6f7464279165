"""The measure: a grpc.aio server that answers every call with the same bytes, as fast as it can."""

from __future__ import annotations

import sys

import grpc
import uvloop

ANSWER = b"\x08\x01"  # RateLimitResponse.overall_code: OK


class _Anything(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:  # noqa: ARG002
        async def answer(_: bytes, __: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            return ANSWER

        return grpc.unary_unary_rpc_method_handler(answer)


async def main() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Anything(),))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main())
