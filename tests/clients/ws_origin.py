#!/usr/bin/env python3
"""A WebSocket endpoint that sends back what it gets: ws_origin.py PORT. Says "listening" once it accepts."""

import asyncio
import sys

from websockets.asyncio.server import serve


async def echo(link):
    async for message in link:
        await link.send(message)


async def main():
    async with serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=1 << 26, select_subprotocol=chosen):
        print("listening", flush=True)
        await asyncio.get_running_loop().create_future()


def chosen(_link, offered):
    return "chat.v1" if "chat.v1" in offered else None


asyncio.run(main())
