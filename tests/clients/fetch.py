#!/usr/bin/env python3
"""Fetch and upload with a Python client: fetch.py requests|httpx|aiohttp h1|h2 BASE CERT FILE

Gets BASE/file, posts FILE to BASE/hash, both on one connection, and prints a JSON object: the version that was spoken,
the SHA-256 of what came, and what /hash said. CERT is the authority to believe.
"""

import asyncio
import hashlib
import json
import pathlib
import ssl
import sys


def by_requests(base, cert, body):
    import requests
    with requests.Session() as session:
        session.trust_env = False
        got = session.get(base + "/file", verify=cert, timeout=30)
        got.raise_for_status()
        said = session.post(base + "/hash", data=body, verify=cert, timeout=30)
        said.raise_for_status()
        return {10: "1.0", 11: "1.1"}[got.raw.version], got.content, said.text


def by_httpx(base, cert, body, way):
    import httpx
    trust = ssl.create_default_context(cafile=cert)
    with httpx.Client(verify=trust, http1=way == "h1", http2=way == "h2", trust_env=False, timeout=30) as client:
        got = client.get(base + "/file").raise_for_status()
        said = client.post(base + "/hash", content=body).raise_for_status()
        return {"HTTP/1.1": "1.1", "HTTP/2": "2"}[got.http_version], got.content, said.text


async def by_aiohttp(base, cert, body):
    import aiohttp
    trust = ssl.create_default_context(cafile=cert)
    async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust), timeout=aiohttp.ClientTimeout(30), raise_for_status=True) as session:
        async with session.get(base + "/file") as got:
            content, version = await got.read(), "%d.%d" % got.version
        async with session.post(base + "/hash", data=body) as said:
            return version, content, await said.text()


def main():
    library, way, base, cert, file = sys.argv[1:]
    body = pathlib.Path(file).read_bytes()
    if library == "requests":
        version, content, said = by_requests(base, cert, body)
    elif library == "httpx":
        version, content, said = by_httpx(base, cert, body, way)
    else:
        version, content, said = asyncio.run(by_aiohttp(base, cert, body))
    print(json.dumps({"version": version, "file": hashlib.sha256(content).hexdigest(), "hash": said}))


main()
