"""An API of WebSockets by the library of that name: it tells the headers it was opened with, then gives back what it gets."""

import asyncio
import contextlib
import json

from serve import announce
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def talk(connection):
    await connection.send(json.dumps(list(connection.request.headers.raw_items())))
    # Clients leave in every way.
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            if message == "leave":
                await connection.close(4001, "as you said")
            else:
                await connection.send(message)


async def main():
    async with serve(talk, "127.0.0.1", 0, subprotocols=["chat"], max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        announce(f"http://127.0.0.1:{port}")
        await server.wait_closed()


asyncio.run(main())
