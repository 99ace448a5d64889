"""Signature Version 4 of one service's POST requests, for as long as it gives what the SDK's own signer gives.

Pure: text and bytes in, headers out. botocore's signer decides how requests are signed; where that is the plain
algorithm ("Create a signed AWS API request" in the IAM user guide), this one does the same for a tenth of the time,
because what does not change from call to call is kept: the scope, the order of the headers, the day's key.
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Keys", "SigV4"]

_SCOPE = re.compile(r"AWS4-HMAC-SHA256 Credential=[^,]*/\d{8}/([^/,]+)/([^/,]+)/aws4_request, ")
_UNSIGNED = frozenset({"user-agent"})
"""Proxies rewrite it; the SDK leaves it out as well."""


class Keys(NamedTuple):
    """Access key id, secret access key and session token."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None

    def __repr__(self) -> str:
        return "Keys(...)"


class SigV4:
    """Signs for one host, region and service."""

    __slots__ = ("_day_key", "_day_of", "_host", "_region", "_service")

    def __init__(self, host: str, region: str, service: str) -> None:
        self._host = host
        self._region = region
        self._service = service
        self._day_of: tuple[str, str] | None = None
        self._day_key = b""

    @classmethod
    def like(
        cls, url: str, headers: Mapping[str, str], signed: Mapping[str, str], body: Sequence[bytes], keys: Keys
    ) -> SigV4 | None:
        """Return a signer that gives for `headers` what the SDK's signer gave (`signed`), or None if there is none."""
        parts = urlsplit(url)
        scope = _SCOPE.match(signed.get("Authorization", ""))
        if scope is None or parts.path not in {"", "/"} or parts.query or "@" in parts.netloc:
            return None
        found = cls(_host(parts.scheme, parts.netloc), scope[1], scope[2])
        return found if found.headers(headers, body, keys, signed.get("X-Amz-Date", "")) == dict(signed) else None

    def headers(self, headers: Mapping[str, str], body: Sequence[bytes], keys: Keys, amz_date: str) -> dict[str, str]:
        """Return the headers to send for `body` (its pieces), signed at `amz_date` (``YYYYMMDDTHHMMSSZ``)."""
        found = {**headers, "X-Amz-Date": amz_date}
        if keys.session_token:
            found["X-Amz-Security-Token"] = keys.session_token
        lower = {"host": self._host, **{name.lower(): value for name, value in found.items()}}
        names = sorted(lower.keys() - _UNSIGNED)
        signed_names = ";".join(names)
        canonical = "\n".join(
            ("POST", "/", "", *(f"{name}:{' '.join(lower[name].split())}" for name in names), "", signed_names)
        )
        payload = sha256()
        for piece in body:
            payload.update(piece)
        hashed = sha256(f"{canonical}\n{payload.hexdigest()}".encode()).hexdigest()
        scope = f"{amz_date[:8]}/{self._region}/{self._service}/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{amz_date}\n{scope}\n{hashed}"
        signature = hmac.digest(self._key(keys.secret_access_key, amz_date[:8]), to_sign.encode(), "sha256").hex()
        found["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={keys.access_key_id}/{scope}, SignedHeaders={signed_names}, "
            f"Signature={signature}"
        )
        return found

    def _key(self, secret: str, day: str) -> bytes:
        """Return the signing key of a day, made anew when the day or the secret changes."""
        if self._day_of != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._day_of, self._day_key = (secret, day), key
        return self._day_key

    def __repr__(self) -> str:
        return f"SigV4({self._host}, {self._region}, {self._service})"


def _host(scheme: str, netloc: str) -> str:
    """Return the Host header: the port left out where it is the scheme's own."""
    return netloc.removesuffix({"http": ":80", "https": ":443"}.get(scheme, ":none"))
