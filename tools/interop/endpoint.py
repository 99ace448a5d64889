"""The local endpoint in a process of its own, with two doors to one state: http, and https for the KPL.

Run as ``python -m tools.interop.endpoint``; `Ready` tells the http URL, the https URL and the certificate's file, one
per line. Leaves when its standard input ends.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from shardline.cli.demo.child import Parent
from shardline.cli.demo.messages import Ready
from shardline.local import LocalEndpoint, tune_collector
from shardline.local.http.protocol import HttpProtocol
from shardline.local.http.tls import Certificate, server_context

_HOST = "127.0.0.1"


async def _serve() -> None:
    parent = Parent()
    tune_collector()
    connections: set[HttpProtocol] = set()
    with TemporaryDirectory(prefix="shardline-interop-") as folder:
        context = server_context(Certificate.GOOD, _HOST, Path(folder))
        async with LocalEndpoint() as endpoint:
            secured = await asyncio.get_running_loop().create_server(
                lambda: HttpProtocol(endpoint.app.handle, connections), _HOST, 0, ssl=context
            )
            port = secured.sockets[0].getsockname()[1]
            urls = f"{endpoint.url}\nhttps://{_HOST}:{port}\n{Path(folder) / 'certificate.pem'}"
            parent.say(Ready(parent.now(), urls))
            await parent.stop()
            secured.close()


if __name__ == "__main__":
    asyncio.run(_serve())
