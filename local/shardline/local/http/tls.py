"""Certificates made at the start, for an endpoint that the KPL will talk to, and bad ones that clients must refuse."""

from __future__ import annotations

import datetime as dt
import ssl
from enum import StrEnum
from ipaddress import ip_address
from typing import TYPE_CHECKING

from shardline.common.clock import AsyncioRuntime

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

__all__ = ["Certificate", "server_context"]


class Certificate(StrEnum):
    """Which certificate the endpoint shows: a good one, one that has expired, one for another host."""

    GOOD = "good"
    EXPIRED = "expired"
    WRONG_HOST = "wrong_host"


_DAY = dt.timedelta(days=1)


def server_context(kind: Certificate, host: str, folder: Path) -> ssl.SSLContext:
    """Return a server's TLS context with a fresh self-signed certificate, ``certificate.pem`` in `folder`."""
    key_pem, certificate_pem = _make(kind, host)
    path, key_path = folder / "certificate.pem", folder / "key.pem"
    path.write_bytes(certificate_pem)
    key_path.touch(mode=0o600)
    key_path.write_bytes(key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key_path)
    return context


def _make(kind: Certificate, host: str) -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shardline local endpoint")])
    now = dt.datetime.fromtimestamp(AsyncioRuntime().wall(), dt.UTC)
    last = now - _DAY if kind is Certificate.EXPIRED else now + 30 * _DAY
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * _DAY)
        .not_valid_after(last)
        .add_extension(x509.SubjectAlternativeName(_names(kind, host)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    )
    certificate = builder.sign(key, hashes.SHA256())
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key_pem, certificate.public_bytes(serialization.Encoding.PEM)


def _names(kind: Certificate, host: str) -> list[x509.GeneralName]:
    from cryptography import x509

    if kind is Certificate.WRONG_HOST:
        return [x509.DNSName("elsewhere.invalid")]
    try:
        own: list[x509.GeneralName] = [x509.IPAddress(ip_address(host))]
    except ValueError:
        own = [x509.DNSName(host)]
    return [x509.DNSName("localhost"), *own]
