"""Our signer against botocore's: the same headers, or it is not used."""

from __future__ import annotations

from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.aws.sigv4 import Keys, SigV4

KEYS = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "token/with+signs=")
HEADERS = {
    "Content-Type": "application/x-amz-cbor-1.1",
    "User-Agent": "u",
    "X-Amz-Target": "Kinesis_20131202.PutRecords",
}
VALUES = st.from_regex(r"[!-~]([ -~]{0,12}[!-~])?", fullmatch=True)
NAMES = st.from_regex(r"X-[A-Za-z]{1,8}", fullmatch=True)
# Each header once, whatever its case: HTTP would join two of one name, and nobody here sends them.
HEADERS_MORE = st.lists(st.tuples(NAMES, VALUES), max_size=3, unique_by=lambda one: one[0].lower()).map(dict)


def by_sdk(url: str, headers: dict[str, str], body: bytes, keys: Keys = KEYS) -> dict[str, str]:
    """Return the headers that botocore's signer makes."""
    request: Any = AWSRequest(method="POST", url=url, headers=headers, data=body)
    SigV4Auth(Credentials(*keys), "kinesis", "eu-west-1").add_auth(request)
    return dict(request.headers.items())


@given(HEADERS_MORE, st.binary(max_size=50), st.booleans())
def test_it_signs_as_the_sdk_does(more: dict[str, str], body: bytes, token: bool) -> None:
    """Whatever the headers and the body, both signers agree to the letter; so do they for the next body."""
    keys = KEYS if token else KEYS._replace(session_token=None)
    url = "https://kinesis.eu-west-1.amazonaws.com:443/"
    signer = SigV4.like(url, HEADERS | more, by_sdk(url, HEADERS | more, body, keys), (body[:20], body[20:]), keys)
    assert signer is not None
    signed = by_sdk(url, HEADERS, b"other", keys)
    assert signer.headers(HEADERS, (b"oth", b"er"), keys, signed["X-Amz-Date"]) == signed


def test_it_is_not_used_where_the_sdk_signs_otherwise() -> None:
    """Another path, another algorithm, one header more: then there is no signer of ours."""
    for url in ("https://h/path", "https://h/?a=b", "https://u@h/"):
        assert SigV4.like(url, HEADERS, by_sdk("https://h/", HEADERS, b""), (), KEYS) is None
    signed = by_sdk("https://h/", HEADERS, b"")
    changed = {**signed, "Authorization": signed["Authorization"].replace("HMAC", "ECDSA")}
    for other in ({}, changed, {**signed, "X-More": "1"}):
        assert SigV4.like("https://h/", HEADERS, other, (), KEYS) is None


def test_the_days_key_follows_day_and_secret() -> None:
    """A key kept for one day or secret never signs for another."""
    signer = SigV4("h", "r", "kinesis")
    first = signer.headers(HEADERS, (), KEYS, "20260101T000000Z")
    signer.headers(HEADERS, (), KEYS._replace(secret_access_key="x"), "20260101T000000Z")
    signer.headers(HEADERS, (), KEYS, "20260102T000000Z")
    assert signer.headers(HEADERS, (), KEYS, "20260101T000000Z") == first


def test_secrets_stay_out_of_reprs() -> None:
    """Neither keys nor signer show a credential."""
    assert "AKID" not in repr(KEYS) + repr(SigV4("h", "r", "kinesis"))
