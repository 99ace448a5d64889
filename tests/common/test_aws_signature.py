"""Signatures verified as the service verifies them: from the bytes that arrived, by the published algorithm.

No account is at hand, and no emulator looks at signatures; so this is where a header that changed between signing and
sending would show. The algorithm is Signature Version 4 (IAM user guide, "Create a signed AWS API request").
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import hmac
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest

from shardline.common.connection import Credentials
from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.common.ports.lease_store import Equals, Key, Update, UpdateItem
from shardline.common.ports.metrics import Datum

from tests.common.aws_server import CALL_S, Received, connection_to, recording, reply, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shardline.common.connection import Connection

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SIGNER = Credentials(access_key_id="AKIDEXAMPLE", secret_access_key=SECRET, session_token="token/with+signs=")


def sign(key: bytes, text: str) -> bytes:
    """Return one link of the key's chain."""
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def expected_signature(received: Received) -> str:
    """Return the signature that the arrived bytes should carry."""
    authorization = received.headers["authorization"].removeprefix("AWS4-HMAC-SHA256 ")
    parts = dict(part.strip().split("=", 1) for part in authorization.split(","))
    _, date, region, service, _ = parts["Credential"].split("/")
    names = parts["SignedHeaders"].split(";")
    assert names == sorted(names)
    method, path, _ = received.line.split(" ")
    canonical = [method, path, "", *(f"{name}:{' '.join(received.headers[name].split())}" for name in names)]
    canonical += ["", ";".join(names), hashlib.sha256(received.body).hexdigest()]
    scope = f"{date}/{region}/{service}/aws4_request"
    hashed = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    to_sign = "\n".join(("AWS4-HMAC-SHA256", received.headers["x-amz-date"], scope, hashed))
    key = sign(sign(sign(sign(f"AWS4{SECRET}".encode(), date), region), service), "aws4_request")
    return sign(key, to_sign).hex()


async def put_small(connection: Connection) -> None:
    """Put one small record."""
    async with connection.kinesis() as kinesis:
        for _ in range(2):
            await kinesis.put_records(Stream("s"), [PutEntry(b"x", "k")], timeout_s=CALL_S)


async def put_large(connection: Connection) -> None:
    """Put two records that are sent piece by piece."""
    async with connection.kinesis() as kinesis:
        for _ in range(2):
            await kinesis.put_records(Stream("s"), [PutEntry(b"x" * 900_000, "k")] * 2, timeout_s=CALL_S)


async def get_item(connection: Connection) -> None:
    """Read an item."""
    async with connection.lease_store() as store:
        for _ in range(2):
            await store.get("t", Key("leaseKey", "a"), consistent=True, timeout_s=CALL_S)


async def put_metrics(connection: Connection) -> None:
    """Send metrics, compressed."""
    row = Datum(name="m", dimensions=(), unit="Count", timestamp_s=1, sample_count=1, sum=1, minimum=1, maximum=1)
    async with connection.metrics() as metrics:
        for _ in range(2):
            await metrics.put_metric_data("App", [row] * 100, timeout_s=CALL_S)


@pytest.mark.parametrize("call", [put_small, put_large, get_item, put_metrics])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_arrives_is_what_was_signed(call: Callable[[Connection], Awaitable[None]], host: str) -> None:
    """The signature holds for method, path, headers and body as they came over the wire; the token is signed too.

    Each call is made twice: the SDK's signer signs the first request, ours, if it does the same, those that follow.
    """
    seen: list[Received] = []
    answer = {"Records": [{"ShardId": "s", "SequenceNumber": "1"}] * (2 if call is put_large else 1)}

    async def main() -> None:
        async with serving(recording(seen, reply(200, answer))) as url:
            await call(connection_to(url.replace("127.0.0.1", host), credentials=SIGNER))

    asyncio.run(main())
    assert len(seen) == 2
    for received in seen:
        check(received)


def check(received: Received) -> None:
    """Compare a request's signature with what its bytes should carry."""
    assert received.headers["authorization"].endswith(f"Signature={expected_signature(received)}")
    assert received.headers["x-amz-security-token"] == "token/with+signs="
    signed = received.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {"host", "content-type", "x-amz-date", "x-amz-security-token"} <= set(signed)


def test_a_lease_write_refused_for_the_clock_is_made_again_in_time() -> None:
    """F10, KPL #332: the lease table refuses a renewal signed an hour ahead; it is signed anew, and applied once."""
    there = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    applied: list[bytes] = []
    refused: list[bytes] = []

    def handler(received: Received) -> bytes:
        signed = dt.datetime.strptime(received.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
        if abs((signed - there).total_seconds()) < 300:
            applied.append(received.body)
            return reply(200, {"Attributes": {"leaseKey": {"S": "shard"}, "leaseCounter": {"N": "8"}}})
        refused.append(received.body)
        fields = {"__type": "InvalidSignatureException", "message": "Signature not yet current: ..."}
        return reply(400, fields, Date=format_datetime(there.replace(microsecond=0), usegmt=True))

    async def main() -> None:
        renewal = UpdateItem(
            "leases", Key("leaseKey", "shard"), Update(set={"leaseCounter": 8}), (Equals("leaseCounter", 7),)
        )
        async with serving(handler) as url, connection_to(url).lease_store() as store:
            result = await store.write(renewal, timeout_s=CALL_S)
            assert result.applied
            assert result.item == {"leaseKey": "shard", "leaseCounter": 8}

    asyncio.run(main())
    assert applied == refused
    assert len(applied) == 1
