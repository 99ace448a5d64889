"""Calls that lie (F1-F9): each way a call can go wrong, over a real socket, and what may then be believed."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import os
import socket
import ssl
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from shardline.common.aws import transport as transport_module
from shardline.common.aws.transport import WRITE_BYTES, chunks
from shardline.common.errors import (
    Ambiguous,
    Closed,
    CredentialsRefused,
    InvalidInput,
    NotApplied,
    Rejected,
    ServiceError,
    Unreachable,
)
from shardline.common.ports.kinesis import PutEntry, Stream

from tests.common.aws_server import CALL_S, Handler, Received, connection_to, recording, reply, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from shardline.common.connection import Connection
    from shardline.common.ports.kinesis import KinesisApi

STREAM = Stream("orders")
FINE = reply(200, {"Records": [{"ShardId": "shardId-000000000000", "SequenceNumber": "7"}]})


async def put(kinesis: KinesisApi, timeout_s: float = CALL_S) -> None:
    """Put one record."""
    await kinesis.put_records(STREAM, [PutEntry(b"x", "k")], timeout_s=timeout_s)


def outcome(handler: Handler, timeout_s: float = CALL_S) -> ServiceError:
    """Return the error of one put against `handler`."""

    async def main() -> ServiceError:
        async with serving(handler) as url, connection_to(url).kinesis() as kinesis:
            with pytest.raises(ServiceError) as caught:
                await put(kinesis, timeout_s)
            return caught.value

    return asyncio.run(main())


def writing(data: bytes, then: Callable[[asyncio.StreamWriter], Any] | None = None) -> Handler:
    """Return a handler that writes `data` and does `then` with the connection (nothing: it hangs)."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if then is None:
            await asyncio.Event().wait()
        else:
            then(writer)

    return lambda _: write


def test_a_reset_after_the_request_is_ambiguous() -> None:
    """F2, F8: the request arrived and the connection broke: nobody knows."""
    error = outcome(writing(b"", lambda writer: writer.transport.abort()))
    assert isinstance(error, Ambiguous)
    assert error.code == "ConnectionBroken"


def test_a_truncated_answer_is_ambiguous() -> None:
    """F8: fewer bytes than announced: no part of the answer is used."""
    error = outcome(writing(FINE[:-10], lambda writer: writer.close()))
    assert isinstance(error, Ambiguous)


def test_a_hung_call_is_ambiguous_within_its_time_out() -> None:
    """F7: a server that takes the request and stays silent costs the call's own time-out, no more."""
    error = outcome(writing(b""), timeout_s=0.3)
    assert isinstance(error, Ambiguous)
    assert error.code == "CallTimeout"


def test_a_half_answer_that_stalls_is_ambiguous() -> None:
    """F7: headers alone are no answer."""
    assert isinstance(outcome(writing(FINE[:60]), timeout_s=0.3), Ambiguous)


def test_a_refused_connection_changed_nothing() -> None:
    """Nobody listens: nothing was sent."""

    async def main() -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        async with connection_to(f"http://127.0.0.1:{port}").kinesis() as kinesis:
            with pytest.raises(Unreachable, match="ConnectFailed"):
                await put(kinesis)

    asyncio.run(main())


def test_a_connection_that_never_comes_about_changed_nothing() -> None:
    """A full accept queue (a black hole): the time-out falls before anything was sent."""

    async def main() -> None:
        with socket.socket() as hole:
            hole.bind(("127.0.0.1", 0))
            hole.listen(0)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(hole.getsockname())
            async with connection_to(f"http://127.0.0.1:{hole.getsockname()[1]}").kinesis() as kinesis:
                with pytest.raises(Unreachable, match="Connect"):
                    await put(kinesis, timeout_s=0.3)
            for filler in fillers:
                filler.close()

    asyncio.run(main())


def test_a_full_pool_is_waited_for_and_then_unreachable() -> None:
    """A call that never gets a connection of the pool was never sent."""

    async def main() -> None:
        async with serving(writing(b"")) as url, connection_to(url).kinesis(connections_max=1) as kinesis:
            async with asyncio.TaskGroup() as group:
                first = group.create_task(asyncio.wait_for(asyncio.shield(_caught(put(kinesis, 1.0))), None))
                await asyncio.sleep(0.1)
                second = group.create_task(_caught(put(kinesis, 0.3)))
            assert isinstance(second.result(), Unreachable)
            assert isinstance(first.result(), Ambiguous)

    asyncio.run(main())


async def _caught(call: Awaitable[None]) -> BaseException | None:
    try:
        await call
    except ServiceError as error:
        return error
    return None


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_5xx_is_ambiguous(status: int) -> None:
    """F5: an internal failure says nothing about what it did."""
    assert isinstance(outcome(lambda _: reply(status, b"<html>oops</html>", "text/html")), Ambiguous)


def test_an_answer_that_is_no_json_is_ambiguous() -> None:
    """A 200 whose body cannot be read is not believed."""
    error = outcome(lambda _: reply(200, b"<html>hotel wifi</html>", "text/html"))
    assert isinstance(error, Ambiguous)
    assert error.code == "BrokenAnswer"


def test_redirects_are_not_followed() -> None:
    """A redirect is refused, and its target never sees a signed request."""
    seen: list[Received] = []

    async def main() -> None:
        def elsewhere(received: Received) -> bytes:
            seen.append(received)
            return FINE

        async with (
            serving(elsewhere) as target,
            serving(lambda _: reply(307, b"", Location=target)) as url,
            connection_to(url).kinesis() as kinesis,
        ):
            with pytest.raises(Rejected, match="307"):
                await put(kinesis)

    asyncio.run(main())
    assert seen == []


def test_an_endless_answer_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the limit is not kept in memory."""
    monkeypatch.setattr(transport_module, "ANSWER_BYTES_MAX", 1000)
    error = outcome(lambda _: reply(200, b" " * 2000))
    assert isinstance(error, Ambiguous)
    assert error.code == "AnswerTooLarge"


def test_connections_are_kept_and_closed_on_leaving() -> None:
    """Calls share one connection, and leaving closes it without a warning."""
    lines: list[asyncio.StreamWriter] = []

    def handler(_: Received) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
        async def write(writer: asyncio.StreamWriter) -> None:
            lines.append(writer)
            writer.write(FINE)

        return write

    async def main() -> None:
        async with serving(handler) as url:
            async with connection_to(url).kinesis() as kinesis:
                for _ in range(3):
                    await put(kinesis)
            with pytest.raises(Closed):
                await put(kinesis)

    asyncio.run(main())
    assert len(lines) == 3
    assert len(set(map(id, lines))) == 1


def test_a_connection_belongs_to_its_loop() -> None:
    """Use from another event loop is refused by name."""

    async def main() -> None:
        async with serving(lambda _: FINE) as url, connection_to(url).kinesis() as kinesis:

            def other() -> None:
                with pytest.raises(Closed, match="event loop"):
                    asyncio.run(put(kinesis))

            await asyncio.to_thread(other)

    asyncio.run(main())


def test_a_connection_belongs_to_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use after a fork is refused by name."""

    async def main() -> None:
        async with serving(lambda _: FINE) as url, connection_to(url).kinesis() as kinesis:
            monkeypatch.setattr(os, "getpid", lambda: -1)
            with pytest.raises(Closed, match="process"):
                await put(kinesis)

    asyncio.run(main())


def test_cancellation_passes_through() -> None:
    """A cancelled call ends as cancelled, and the connection is not reused."""

    async def main() -> None:
        async with serving(writing(b"")) as url, connection_to(url).kinesis() as kinesis:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(put(kinesis), 0.2)

    asyncio.run(main())


# --- credentials and clock (F10) ---


def test_no_credentials_is_said_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without credentials a connection does not open, and the error says so."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BOTO_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    async def main() -> None:
        connection = connection_to("http://localhost:1", credentials=None)
        with pytest.raises(CredentialsRefused, match="NoCredentials"):
            await connection.kinesis().__aenter__()

    asyncio.run(main())


def test_expired_credentials_are_looked_up_anew_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """F10: a refused token is followed by one try with newer credentials, within the same call."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOLD")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "old")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    expired = reply(400, {"__type": "ExpiredTokenException", "message": "expired"})
    seen: list[str] = []

    def handler(received: Received) -> bytes:
        seen.append("new" if "AKIDNEW" in received.headers["authorization"] else "old")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDNEW")
        return FINE if seen[-1] == "new" else expired

    async def main() -> None:
        async with serving(handler) as url, connection_to(url, credentials=None).kinesis() as kinesis:
            await put(kinesis)
            await put(kinesis)

    asyncio.run(main())
    assert seen == ["old", "new", "new"]


def test_credentials_that_stay_expired_are_refused_after_one_try() -> None:
    """Without newer credentials the refusal is final for this call, retryable for the caller, and sent once."""
    seen: list[Received] = []
    answer = reply(400, {"__type": "ExpiredTokenException", "message": "expired"})
    error = outcome(recording(seen, answer))
    assert isinstance(error, CredentialsRefused)
    assert isinstance(error, NotApplied)
    assert error.retryable
    assert len(seen) == 1


def test_a_clock_that_is_off_follows_the_service() -> None:
    """F10: a signature refused for its time is made again by the service's clock, and so are all later ones."""
    there = dt.datetime.now(dt.UTC) - dt.timedelta(hours=3)
    dates: list[str] = []

    def handler(received: Received) -> bytes:
        dates.append(received.headers["x-amz-date"])
        if dates[-1].startswith(there.strftime("%Y%m%dT%H")) or len(dates) > 1:
            return FINE
        fields = {"__type": "InvalidSignatureException", "message": "Signature not yet current: ..."}
        return reply(400, fields, Date=format_datetime(there.replace(microsecond=0), usegmt=True))

    async def main() -> None:
        async with serving(handler) as url, connection_to(url).kinesis() as kinesis:
            await put(kinesis)
            await put(kinesis)

    asyncio.run(main())
    wanted = dt.datetime.strptime(dates[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    assert abs((wanted - there).total_seconds()) < 600
    assert len(dates) == 3
    assert dates[2] >= dates[1]


# --- TLS (F9) ---


def certificate(path: Path, name: str, days: int) -> Path:
    """Write a self-signed certificate for `name`, good for `days` from now (negative: expired)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shardline test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=30))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + pem)
    return path


def tls_outcome(pem: Path, settings: dict[str, Any], version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> str:
    """Return "fine" or the error's code, of one put over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    if version < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(pem)

    async def main() -> str:
        async with serving(lambda _: FINE, context) as url:
            connection: Connection = connection_to(url.replace("127.0.0.1", "localhost"), **settings)
            async with connection.kinesis() as kinesis:
                try:
                    await put(kinesis)
                except ServiceError as error:
                    return error.code
                return "fine"

    return asyncio.run(main())


def test_a_bundle_of_ones_own_is_trusted(tmp_path: Path) -> None:
    """A custom CA bundle makes its certificates good, and only by the right name and time."""
    good = certificate(tmp_path / "good.pem", "localhost", 30)
    assert tls_outcome(good, {"ca_bundle": str(good)}) == "fine"
    assert tls_outcome(good, {"ca_bundle": str(good)}, ssl.TLSVersion.TLSv1_2) == "fine"


@pytest.mark.parametrize(("name", "days"), [("localhost", -1), ("elsewhere.example", 30)])
def test_expired_and_misnamed_certificates_are_refused(tmp_path: Path, name: str, days: int) -> None:
    """F9: a trusted bundle does not excuse a wrong name or an expired certificate."""
    bad = certificate(tmp_path / "bad.pem", name, days)
    assert tls_outcome(bad, {"ca_bundle": str(bad)}) == "CertificateRefused"


def test_self_signed_is_refused_unless_a_flag_says_insecure(tmp_path: Path) -> None:
    """F9: verification is off only by the flag that says so."""
    pem = certificate(tmp_path / "self.pem", "localhost", 30)
    assert tls_outcome(pem, {}) == "CertificateRefused"
    assert tls_outcome(pem, {"insecure_skip_tls_verification": True}) == "fine"


def test_old_tls_is_not_spoken() -> None:
    """The context asks for TLS 1.2 at least, verified or not."""
    for verify in (True, False):
        assert transport_module.tls_context(None, verify=verify).minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_bundle_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A missing or garbled bundle is a setting out of range, said on opening."""
    garbled = tmp_path / "garbled.pem"
    garbled.write_text("nonsense")
    for path in (garbled, tmp_path / "missing.pem"):
        with pytest.raises(InvalidInput, match="ca_bundle"):
            transport_module.tls_context(str(path), verify=True)


# --- where the SDK's settings come from ---


def test_endpoints_of_the_environment_obey_the_same_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_ENDPOINT_URL_KINESIS is used, and refused where a setting would be."""
    seen: list[Received] = []

    async def main() -> None:
        async with serving(recording(seen, FINE)) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", url)
            async with connection_to(url, endpoint_url=None).kinesis() as kinesis:
                await put(kinesis)
        monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", "http://kinesis.example")
        with pytest.raises(InvalidInput, match="endpoint_url"):
            async with connection_to("", endpoint_url=None).kinesis():
                pass
        monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", "https://kinesis.eu-west-1.amazonaws.com")
        with pytest.raises(InvalidInput, match="us-east-1"):
            async with connection_to("", endpoint_url=None).kinesis():
                pass

    asyncio.run(main())
    assert [received.operation for received in seen] == ["PutRecords"]


@pytest.mark.parametrize("source", ["boto3", "botocore", "aiobotocore"])
def test_any_session_lends_its_credentials(source: str) -> None:
    """A session of boto3, botocore or aiobotocore is a source of credentials and region."""
    seen: list[str] = []

    async def main() -> None:
        def handler(received: Received) -> bytes:
            seen.append(received.headers["authorization"])
            return FINE

        async with serving(handler) as url:
            connection = connection_to(url, credentials=None, region_name=None, session=_session(source))
            async with connection.kinesis() as kinesis:
                await put(kinesis)

    asyncio.run(main())
    assert f"AKID{source}/" in seen[0]
    assert "/eu-north-1/kinesis/" in seen[0]


def _session(source: str) -> Any:
    import aiobotocore.session
    import boto3
    import botocore.session

    if source == "boto3":
        return boto3.Session(f"AKID{source}", "s", region_name="eu-north-1")
    session: Any = botocore.session.Session() if source == "botocore" else aiobotocore.session.AioSession()
    session.set_credentials(f"AKID{source}", "s")
    session.set_config_variable("region", "eu-north-1")
    return session


def test_a_role_is_assumed_with_the_given_credentials() -> None:
    """The role's credentials sign the call; STS was asked with ours, by role, session name and external id."""
    asked: list[str] = []
    signed: list[str] = []
    sts_answer = (
        b"<AssumeRoleResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><AssumeRoleResult><Credentials>"
        b"<AccessKeyId>AKIDROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>roletoken</SessionToken>"
        b"<Expiration>2100-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>x:y</AssumedRoleId>"
        b"<Arn>arn:aws:sts::123456789012:assumed-role/r/y</Arn></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>"
    )

    def sts(received: Received) -> bytes:
        asked.append(received.headers["authorization"] + received.body.decode())
        return reply(200, sts_answer, "text/xml")

    def kinesis_handler(received: Received) -> bytes:
        signed.append(received.headers["authorization"] + received.headers.get("x-amz-security-token", ""))
        return FINE

    async def main() -> None:
        async with serving(sts) as sts_url, serving(kinesis_handler) as url:
            role = {"role_arn": "arn:aws:iam::123456789012:role/r", "role_session_name": "me", "external_id": "ext"}
            async with connection_to(url, sts_endpoint_url=sts_url, **role).kinesis() as kinesis:
                await put(kinesis)
                await put(kinesis)

    asyncio.run(main())
    assert len(asked) == 1
    assert all(part in asked[0] for part in ("AKIDEXAMPLE", "role%2Fr", "RoleSessionName=me", "ExternalId=ext"))
    assert all("AKIDROLE" in one and one.endswith("roletoken") for one in signed)


# --- proxies ---


def proxied(monkeypatch: pytest.MonkeyPatch, environment: bool) -> Received:
    """Return what a proxy saw of a call to a host that only it can reach."""
    seen: list[Received] = []

    async def main() -> None:
        async with serving(recording(seen, FINE)) as proxy:
            settings: dict[str, Any] = {"insecure_plain_http": True}
            if environment:
                monkeypatch.setenv("http_proxy", proxy)
                monkeypatch.setenv("no_proxy", "")
            else:
                settings["proxy_url"] = proxy.replace("//", "//me:word@")
            async with connection_to("http://kinesis.invalid:4567", **settings).kinesis() as kinesis:
                await put(kinesis)

    asyncio.run(main())
    return seen[0]


def test_a_proxy_is_used_as_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting's proxy sees the whole URL and its own credentials."""
    received = proxied(monkeypatch, environment=False)
    assert received.line == "POST http://kinesis.invalid:4567/ HTTP/1.1"
    assert received.headers["proxy-authorization"].startswith("Basic ")


def test_the_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """http_proxy counts as everywhere."""
    assert proxied(monkeypatch, environment=True).line.startswith("POST http://kinesis.invalid:4567/")


def test_this_machine_is_never_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A local endpoint is called directly, whatever the environment says."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    async def main() -> None:
        async with serving(lambda _: FINE) as url, connection_to(url).kinesis() as kinesis:
            await put(kinesis)

    asyncio.run(main())
    assert os.environ["http_proxy"] == "http://127.0.0.1:1"


def test_a_proxy_that_refuses_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """407 says that nothing went further."""
    monkeypatch.delenv("http_proxy", raising=False)

    async def main() -> None:
        async with serving(lambda _: reply(407, b"")) as proxy:
            connection = connection_to("http://kinesis.invalid:4567", insecure_plain_http=True, proxy_url=proxy)
            async with connection.kinesis() as kinesis:
                with pytest.raises(Unreachable):
                    await put(kinesis)

    asyncio.run(main())


@example([5 * WRITE_BYTES, 0])
@given(st.lists(st.integers(0, 5 * WRITE_BYTES) | st.integers(0, 40), max_size=8))
def test_a_body_is_cut_into_chunks_of_its_very_bytes(lengths: list[int]) -> None:
    """Chunks follow one another as the pieces do, none is empty, and none much larger than is written at once."""
    pieces = [bytes((number,)) * length for number, length in enumerate(lengths)]
    cut = list(chunks(pieces))
    assert b"".join(cut) == b"".join(pieces)
    assert all(0 < len(chunk) < 3 * WRITE_BYTES for chunk in cut)


def test_a_body_of_many_pieces_arrives_whole() -> None:
    """Large and small blobs of one request come over the wire as one body, of the length that was announced."""
    seen: list[Received] = []
    answer = reply(200, {"Records": [{"ShardId": "shardId-000000000000", "SequenceNumber": "7"}] * 4})
    blobs = [bytes((number,)) * length for number, length in enumerate((1, 3_000_000, 70_000, 10))]

    async def main() -> None:
        async with serving(recording(seen, answer)) as url, connection_to(url).kinesis() as kinesis:
            await kinesis.put_records(STREAM, [PutEntry(blob, "k") for blob in blobs], timeout_s=CALL_S)

    asyncio.run(main())
    assert [base64.b64decode(one["Data"]) for one in seen[0].json["Records"]] == blobs
