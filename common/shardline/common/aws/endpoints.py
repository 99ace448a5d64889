"""Rules for URLs that we talk to: where a request may go, and what is refused before a socket is opened.

An endpoint comes from configuration only, is https (or http to this machine), carries no user-info, query or fragment,
and an AWS host names the very region we sign for. Imports no SDK: `Connection` checks its fields with it.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from shardline.common.errors import InvalidInput

__all__ = ["REGION", "check_endpoint", "check_proxy", "check_region_of_endpoint", "is_loopback"]

REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d{1,2}")
_AWS_SUFFIXES = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".api.amazonwebservices.com.cn")


def is_loopback(host: str) -> bool:
    """Say whether `host` (a name or address, no port) is this machine by its very spelling; nothing is resolved."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _split(field: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # Raises for a port that is no number.
    except ValueError:
        raise InvalidInput(field, "a URL such as https://kinesis.us-east-1.amazonaws.com") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or any(ord(c) <= 32 or ord(c) == 127 for c in url):
        raise InvalidInput(field, "a URL of scheme https (or http, to this machine) with a host")
    return parts


def check_endpoint(field: str, url: str, *, insecure_plain_http: bool = False) -> None:
    """Raise `InvalidInput` naming `field` unless `url` may be an endpoint; the message never repeats the URL."""
    parts = _split(field, url)
    if "@" in parts.netloc:
        raise InvalidInput(field, "a URL without user name and password")
    if parts.fragment or parts.query or "#" in url or "?" in url:
        raise InvalidInput(field, "a URL without query and fragment")
    if parts.scheme == "http" and not insecure_plain_http and not is_loopback(parts.hostname or ""):
        raise InvalidInput(
            field, "an https URL: http is for this machine only (localhost), or with insecure_plain_http=True"
        )


def check_proxy(field: str, url: str) -> None:
    """Raise `InvalidInput` naming `field` unless `url` may be a proxy (user-info allowed, never printed)."""
    parts = _split(field, url)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise InvalidInput(field, "a URL of scheme, host and port only")


def check_region_of_endpoint(field: str, url: str, region: str) -> None:
    """Raise `InvalidInput` if `url` is an AWS host of another region than `region`; other hosts name no region."""
    host = (urlsplit(url).hostname or "").lower()
    if not host.endswith(_AWS_SUFFIXES):
        return
    named = [label for label in host.split(".") if REGION.fullmatch(label)]
    if named and region not in named:
        raise InvalidInput(field, f"an endpoint of region {region}", named[0])
