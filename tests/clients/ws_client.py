#!/usr/bin/env python3
"""Speak WebSocket through the proxy: ws_client.py URL [CERT]. Prints a JSON object of what it saw."""

import asyncio
import json
import os
import ssl
import sys

from websockets.asyncio.client import connect


async def main():
    url, *cert = sys.argv[1:]
    extra = {"ssl": ssl.create_default_context(cafile=cert[0])} if cert else {}
    seen = {}
    async with connect(url, subprotocols=["chat.v2", "chat.v1"], max_size=1 << 26, proxy=None, **extra) as link:
        seen["subprotocol"] = link.subprotocol
        seen["compression"] = any("deflate" in one.name for one in link.protocol.extensions)
        await link.send("hello")
        seen["text"] = await link.recv()
        large = os.urandom(4 << 20)
        await link.send(large)
        seen["large"] = await link.recv() == large
        for number in range(500):
            await link.send(str(number))
        seen["order"] = [await link.recv() for _ in range(500)] == [str(number) for number in range(500)]
        await (await link.ping(b"ping"))
        seen["ping"] = True
    seen["close"] = link.close_code
    links = await asyncio.gather(*(connect(url, proxy=None, **extra) for _ in range(50)))
    await asyncio.gather(*(one.send("x") for one in links))
    seen["together"] = sum([await one.recv() == "x" for one in links])
    await asyncio.gather(*(one.close() for one in links))
    print(json.dumps(seen))


asyncio.run(asyncio.wait_for(main(), 60))
