"""The local endpoint in null mode, over TLS, in a process of its own: stores nothing, answers with the owning shard."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import multiprocessing
import ssl
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shardline.local.http.endpoint import LocalEndpoint
from shardline.local.http.protocol import HttpProtocol
from shardline.local.state.options import KinesisOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

STREAM = "bench"
SHARDS = 4


class Null(NamedTuple):
    """Where the endpoint listens, and the certificate to trust."""

    url: str
    ca_bundle: str


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1, good for a day, and its key; return their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shardline bench")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    crt, pem = folder / "null.crt", folder / "null.key"
    crt.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return crt, pem


def _serve(crt: str, pem: str, ready: Connection) -> None:
    async def main() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(crt, pem)
        endpoint = LocalEndpoint({STREAM: SHARDS}, options=KinesisOptions(null=True))
        connections: set[HttpProtocol] = set()
        server = await asyncio.get_running_loop().create_server(
            lambda: HttpProtocol(endpoint.app.handle, connections), "127.0.0.1", 0, ssl=context
        )
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def null_kinesis() -> Iterator[Null]:
    """Run the endpoint; gives its URL and certificate."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        crt, pem = certificate(Path(folder))
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(str(crt), str(pem), theirs), daemon=True)
        process.start()
        theirs.close()  # So that a process that dies before it serves is noticed.
        try:
            yield Null(f"https://127.0.0.1:{ours.recv()}", str(crt))
        finally:
            process.terminate()
            process.join()
