"""TLS in front of a Redis."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.certs import Authority


class Certified:
    """A certificate for 127.0.0.1, or other names, from an authority that nobody else trusts.

    Attributes:
        root: The authority's own certificate.
        context: What a server shows.
    """

    def __init__(self, directory: Path, *names: str) -> None:
        authority = Authority()
        self.root = directory / "root.pem"
        self.root.write_bytes(authority.pem)
        chain = directory / "server.pem"
        chain.write_bytes(b"".join(authority.issue(*(names or ("127.0.0.1",)))))
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(chain)


@asynccontextmanager
async def tls_in_front_of(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """The port of a proxy that ends TLS, since not every build of Redis and Valkey speaks it."""
    links: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", port)
        links.update({asyncio.create_task(pipe(reader, redis_writer)), asyncio.create_task(pipe(redis_reader, writer))})

    proxy = await asyncio.start_server(link, "127.0.0.1", 0, ssl=context)
    try:
        yield proxy.sockets[0].getsockname()[1]
    finally:
        proxy.close()
        for task in links:
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)
