"""Scripted faults, limits, TLS, raw HTTP, the endpoint's own calls, and the process, as clients meet them."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import urllib3
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError, ReadTimeoutError, SSLError

from shardline.common.errors import InvalidInput
from shardline.local import Certificate, FaultRule, KinesisOptions, LocalEndpoint, load_faults
from shardline.local.__main__ import main, parse_stream
from shardline.local.state.options import Limits

from tests.local.conftest import CREDENTIALS, NO_RETRIES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.local.conftest import Client

FIRST = "shardId-000000000000"


@pytest.fixture
def kinesis(client: Callable[[str], Client]) -> Client:
    """Return a boto3 client with a stream `orders` of one shard."""
    made = client("kinesis")
    made.create_stream(StreamName="orders", ShardCount=1)
    return made


def script(endpoint: LocalEndpoint, **rule: Any) -> list[dict[str, Any]]:
    """Set one fault by the endpoint's own call and return its report."""
    report: list[dict[str, Any]] = admin(endpoint, "PUT", "faults", [rule])
    return report


def admin(endpoint: LocalEndpoint, method: str, path: str, content: Any = None) -> Any:
    """Make one call of the endpoint's own and return its answer."""
    body = None if content is None else json.dumps(content).encode()
    with urllib3.PoolManager() as pool:
        answer = pool.request(method, f"{endpoint.url}/_shardline/{path}", body=body)
        assert answer.status == 200, answer.data
        return answer.json()


def put(kinesis: Client, *payloads: bytes) -> dict[str, Any]:
    records = [{"Data": p, "PartitionKey": "k"} for p in payloads or (b"x",)]
    answer: dict[str, Any] = kinesis.put_records(StreamName="orders", Records=records)
    return answer


def stored(kinesis: Client) -> list[bytes]:
    iterator = kinesis.get_shard_iterator(StreamName="orders", ShardId=FIRST, ShardIteratorType="TRIM_HORIZON")
    return [r["Data"] for r in kinesis.get_records(ShardIterator=iterator["ShardIterator"])["Records"]]


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_error_before_applies_nothing_and_after_applies_all(
    kinesis: Client, endpoint: LocalEndpoint, when: str
) -> None:
    """A scripted 500 says nothing of whether the request applied; the script does."""
    script(endpoint, action="error", when=when, operation="PutRecords", code="InternalFailure")
    with pytest.raises(ClientError) as failed:
        put(kinesis)
    assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert stored(kinesis) == ([b"x"] if when == "after" else [])
    assert admin(endpoint, "GET", "faults")[0]["met"] == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_dropped_connection(kinesis: Client, endpoint: LocalEndpoint, when: str) -> None:
    """The connection closes without an answer, the request applied or not."""
    script(endpoint, action="drop", when=when, operation="PutRecords")
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        put(kinesis)
    assert stored(kinesis) == ([b"x"] if when == "after" else [])


def test_a_throttle_storm_is_the_services_own_error(kinesis: Client, endpoint: LocalEndpoint) -> None:
    """Data calls get ProvisionedThroughputExceeded, control calls LimitExceeded, until the storm is over."""
    script(endpoint, action="throttle", service="kinesis", times=2)
    with pytest.raises(kinesis.exceptions.ProvisionedThroughputExceededException):
        put(kinesis)
    with pytest.raises(kinesis.exceptions.LimitExceededException):
        kinesis.list_shards(StreamName="orders")
    assert put(kinesis)["FailedRecordCount"] == 0


def test_single_entries_fail(kinesis: Client, endpoint: LocalEndpoint) -> None:
    """The chosen entries fail with a code and are not stored; the others succeed, in their places."""
    script(endpoint, action="fail_entries", entries=[1], every=4)
    answer = put(kinesis, *(bytes([i]) for i in range(6)))
    assert answer["FailedRecordCount"] == 2
    assert [i for i, r in enumerate(answer["Records"]) if "ErrorCode" in r] == [1, 3]
    assert stored(kinesis) == [bytes([i]) for i in (0, 2, 4, 5)]
    script(endpoint, action="fail_entries", every=1, code="InternalFailure")
    assert put(kinesis)["Records"][0]["ErrorCode"] == "ProvisionedThroughputExceededException"


def test_answers_can_be_short_cut_or_garbage(kinesis: Client, endpoint: LocalEndpoint) -> None:
    """An outcome too few, half a body, a web page: the request has applied each time."""
    script(endpoint, action="short_answer", bytes=1)
    assert len(put(kinesis, b"1", b"2")["Records"]) == 1
    headers = {"x-amz-target": "Kinesis_20131202.PutRecord"}
    body = b'{"StreamName": "orders", "Data": "Mw==", "PartitionKey": "k"}'
    with urllib3.PoolManager() as pool:
        script(endpoint, action="truncate")
        with pytest.raises(urllib3.exceptions.HTTPError, match="IncompleteRead"):
            pool.request("POST", endpoint.url, body=body, headers=headers, retries=False)
        script(endpoint, action="garbage", operation="PutRecord")
        answer = pool.request("POST", endpoint.url, body=body, headers=headers, retries=False)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html")
    assert stored(kinesis) == [b"1", b"2", b"3", b"3"]


def test_an_empty_page_is_not_the_end(kinesis: Client, endpoint: LocalEndpoint) -> None:
    """A scripted empty page gives no records and stays where it was."""
    put(kinesis)
    script(endpoint, action="empty_page", resource="orders", times=2)
    iterator = kinesis.get_shard_iterator(StreamName="orders", ShardId=FIRST, ShardIteratorType="TRIM_HORIZON")
    pages = []
    following = iterator["ShardIterator"]
    for _ in range(3):
        page = kinesis.get_records(ShardIterator=following)
        following = page["NextShardIterator"]
        pages.append(len(page["Records"]))
    assert pages == [0, 0, 1]


def test_a_slow_request_is_carried_out_even_when_its_client_has_gone(endpoint: LocalEndpoint, kinesis: Client) -> None:
    """A late apply: the client gives up, and the request lands later, once."""
    script(endpoint, action="slow", delay_s=0.6, operation="PutRecords")
    hasty = boto3.client(
        "kinesis", endpoint_url=endpoint.url, config=NO_RETRIES.merge(_read_timeout(0.2)), **CREDENTIALS
    )
    with pytest.raises(ReadTimeoutError):
        put(hasty, b"late")
    assert stored(kinesis) == []
    time.sleep(0.8)
    assert stored(kinesis) == [b"late"]
    script(endpoint, action="slow", when="after", delay_s=0.6, operation="PutRecords")
    with pytest.raises(ReadTimeoutError):
        put(hasty, b"applied")
    assert stored(kinesis) == [b"late", b"applied"]
    script(endpoint, action="hang", when="after", operation="PutRecords")
    with pytest.raises(ReadTimeoutError):
        put(hasty, b"hung")
    assert stored(kinesis) == [b"late", b"applied", b"hung"]
    hasty.close()


def _read_timeout(seconds: float) -> Any:
    from botocore.config import Config

    return Config(read_timeout=seconds)


def test_dynamodb_meets_faults_too(endpoint: LocalEndpoint, client: Callable[[str], Client]) -> None:
    """The same script stands in front of moto: throttles, errors after applying, dropped connections."""
    dynamodb = client("dynamodb")
    make_table(dynamodb)
    script(endpoint, action="throttle", service="dynamodb", operation="PutItem")
    with pytest.raises(dynamodb.exceptions.ProvisionedThroughputExceededException):
        dynamodb.put_item(TableName="leases", Item={"leaseKey": {"S": "a"}})
    script(endpoint, action="error", when="after", service="dynamodb", resource="leases", code="InternalServerError")
    with pytest.raises(ClientError, match="InternalServerError"):
        dynamodb.put_item(TableName="leases", Item={"leaseKey": {"S": "a"}})
    assert dynamodb.scan(TableName="leases")["Count"] == 1


def make_table(dynamodb: Client) -> None:
    dynamodb.create_table(
        TableName="leases",
        KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "leaseKey", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


def make_index(dynamodb: Client) -> None:
    names = ("leaseOwner", "leaseKey")
    dynamodb.update_table(
        TableName="leases",
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in names],
        GlobalSecondaryIndexUpdates=[
            {
                "Create": {
                    "IndexName": "by-owner",
                    "KeySchema": [
                        {"AttributeName": names[0], "KeyType": "HASH"},
                        {"AttributeName": names[1], "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            }
        ],
    )


def owned(dynamodb: Client, owner: str) -> list[str]:
    page = dynamodb.query(
        TableName="leases",
        IndexName="by-owner",
        KeyConditionExpression="#o = :o",
        ExpressionAttributeNames={"#o": "leaseOwner"},
        ExpressionAttributeValues={":o": {"S": owner}},
    )
    return [i["leaseKey"]["S"] for i in page["Items"]]


def test_scans_and_the_index_can_be_stale(endpoint: LocalEndpoint, client: Callable[[str], Client]) -> None:
    """A stale scan and index show one past moment; consistent reads the present; a rule makes one call stale."""
    dynamodb = client("dynamodb")
    make_table(dynamodb)
    make_index(dynamodb)
    admin(endpoint, "PUT", "dynamodb", {"scan_staleness_s": 20, "index_staleness_s": 20})
    dynamodb.put_item(TableName="leases", Item={"leaseKey": {"S": "a"}, "leaseOwner": {"S": "x"}})
    assert dynamodb.scan(TableName="leases")["Items"] == []
    assert dynamodb.scan(TableName="leases", ConsistentRead=True)["Count"] == 1
    assert owned(dynamodb, "x") == []
    admin(endpoint, "PUT", "dynamodb", {"scan_staleness_s": 0, "index_staleness_s": 0})
    assert owned(dynamodb, "x") == ["a"]
    script(endpoint, action="stale", service="dynamodb", operation="Scan", age_s=0.1)
    time.sleep(0.3)
    dynamodb.delete_item(TableName="leases", Key={"leaseKey": {"S": "a"}})
    assert [dynamodb.scan(TableName="leases")["Count"] for _ in range(2)] == [1, 0]


def test_a_stale_index_still_shows_the_old_owner(endpoint: LocalEndpoint, client: Callable[[str], Client]) -> None:
    """After an item has moved, the index under the old owner still holds it for a while; scans by segment are whole."""
    dynamodb = client("dynamodb")
    make_table(dynamodb)
    make_index(dynamodb)
    for key in "abcd":
        dynamodb.put_item(TableName="leases", Item={"leaseKey": {"S": key}, "leaseOwner": {"S": "x"}})
    admin(endpoint, "PUT", "dynamodb", {"scan_staleness_s": 20, "index_staleness_s": 20})
    for key in "ab":
        dynamodb.update_item(
            TableName="leases",
            Key={"leaseKey": {"S": key}},
            UpdateExpression="SET leaseOwner = :n",
            ExpressionAttributeValues={":n": {"S": "y"}},
        )
    assert (owned(dynamodb, "x"), owned(dynamodb, "y")) == (["a", "b", "c", "d"], [])
    segments = [dynamodb.scan(TableName="leases", Segment=s, TotalSegments=3)["Items"] for s in range(3)]
    assert sorted(i["leaseKey"]["S"] for s in segments for i in s) == ["a", "b", "c", "d"]


def test_tables_and_indexes_are_creating_for_a_while(endpoint: LocalEndpoint, client: Callable[[str], Client]) -> None:
    """With delays set a table is CREATING and refuses items, an index CREATING and refuses queries, and both end."""
    dynamodb = client("dynamodb")
    admin(endpoint, "PUT", "dynamodb", {"creating_s": 0.5, "index_creating_s": 0.5})
    make_table(dynamodb)
    assert dynamodb.describe_table(TableName="leases")["Table"]["TableStatus"] == "CREATING"
    with pytest.raises(dynamodb.exceptions.ResourceNotFoundException):
        dynamodb.put_item(TableName="leases", Item={"leaseKey": {"S": "a"}})
    time.sleep(0.6)
    make_index(dynamodb)
    table = dynamodb.describe_table(TableName="leases")["Table"]
    assert (table["TableStatus"], table["GlobalSecondaryIndexes"][0]["IndexStatus"]) == ("UPDATING", "CREATING")
    with pytest.raises(ClientError, match="backfilling"):
        owned(dynamodb, "x")
    time.sleep(0.6)
    assert dynamodb.describe_table(TableName="leases")["Table"]["TableStatus"] == "ACTIVE"
    assert owned(dynamodb, "x") == []
    dynamodb.delete_table(TableName="leases")
    with pytest.raises(ClientError, match="SerializationException|ValidationException|NotFound"):
        dynamodb.scan(TableName="leases")


def test_options_change_at_run_time(endpoint: LocalEndpoint, kinesis: Client) -> None:
    """Limits, delays and timings are set by the endpoint's own calls; wrong ones are refused by name."""
    assert admin(endpoint, "GET", "options")["limits"] == "none"
    assert admin(endpoint, "PUT", "options", {"limits": "service", "iterator_lifetime_s": 1})["limits"] == "service"
    answer = put(kinesis, *([bytes(200_000)] * 8))
    assert [r.get("ErrorCode") for r in answer["Records"]].count("ProvisionedThroughputExceededException") == 3
    health = admin(endpoint, "GET", "health")
    assert (health["status"], health["streams"], health["cpu_s"] > 0) == ("ok", ["orders"], True)
    kinesis.create_stream(StreamName="auto", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    admin(endpoint, "POST", "streams/auto/scale", {"shards": 6})
    assert kinesis.describe_stream_summary(StreamName="auto")["StreamDescriptionSummary"]["OpenShardCount"] == 6
    admin(endpoint, "POST", "reset")
    assert kinesis.list_streams()["StreamNames"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("PUT", "options", b'{"limits": "some"}', 400, "some"),
        ("PUT", "options", b'{"creating_s": "1"}', 400, "creating_s"),
        ("PUT", "options", b'{"creating": 1}', 400, "creating_s"),
        ("PUT", "options", b"[]", 400, "object"),
        ("PUT", "options", b"{", 400, "JSON"),
        ("PUT", "dynamodb", b'{"scan_staleness_s": 31}', 400, "30"),
        ("PUT", "faults", b'[{"action": "explode"}]', 400, "action"),
        ("POST", "streams/orders/scale", b"{}", 400, "shards"),
        ("POST", "streams/nowhere/scale", b'{"shards": 1}', 400, "nowhere"),
        ("GET", "nothing", b"", 404, "nothing"),
    ],
)
def test_wrong_calls_of_the_endpoint_say_what_is_allowed(
    endpoint: LocalEndpoint, method: str, path: str, body: bytes, status: int, says: str
) -> None:
    """A wrong call changes nothing and names what is wrong."""
    with urllib3.PoolManager() as pool:
        answer = pool.request(method, f"{endpoint.url}/_shardline/{path}", body=body)
    assert (answer.status, says in answer.json()["error"]) == (status, True)


# --- raw HTTP ---


def exchange(endpoint: LocalEndpoint, *pieces: bytes, wait_s: float = 0.05) -> bytes:
    """Send pieces with a pause between them, close the sending half and return all that comes back."""
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(wait_s)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while data := connection.recv(65_536):
            received += data
        return received


LIST = b"POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: Kinesis_20131202.ListStreams\r\n"


def test_expect_100_continue_is_answered(endpoint: LocalEndpoint) -> None:
    """The KPL waits for 100 Continue before it sends its body."""
    received = exchange(endpoint, LIST + b"Expect: 100-continue\r\ncontent-length: 2\r\n\r\n", b"{}")
    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_bodies_may_come_in_chunks_and_pieces(endpoint: LocalEndpoint) -> None:
    """A chunked body, split anywhere, is one request; two requests sent at once get two answers in order."""
    chunked = LIST + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n1;ext=1\r\n}\r\n0\r\n\r\n"
    assert exchange(endpoint, chunked[:70], chunked[70:125], chunked[125:]).count(b"200 OK") == 1
    plain = LIST + b"content-length: 2\r\n\r\n{}"
    assert exchange(endpoint, plain + chunked + plain).count(b"200 OK") == 3


def test_connections_are_kept_or_closed_as_asked(endpoint: LocalEndpoint) -> None:
    """`Connection: close` is honoured."""
    received = exchange(endpoint, LIST + b"connection: close\r\ncontent-length: 2\r\n\r\n{}")
    assert b"connection: close" in received


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ncontent-length: 999999999999\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nfffffffff\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nx: " + bytes(70_000), b"431"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
    ],
)
def test_wrong_http_is_answered_and_closed(endpoint: LocalEndpoint, request_bytes: bytes, status: bytes) -> None:
    """Bytes that are no request, or too many of them, get an HTTP error, never a hang."""
    assert exchange(endpoint, request_bytes).startswith(b"HTTP/1.1 " + status)


# --- TLS ---


def test_https_with_a_certificate_made_at_the_start() -> None:
    """A client that trusts the endpoint's certificate works; bad certificates are refused."""
    for kind in Certificate:
        with LocalEndpoint({"orders": 1}, tls=kind) as endpoint:
            assert endpoint.url.startswith("https://")
            kinesis = boto3.client(
                "kinesis", endpoint_url=endpoint.url, verify=endpoint.ca_bundle, config=NO_RETRIES, **CREDENTIALS
            )
            if kind is Certificate.GOOD:
                assert put(kinesis)["FailedRecordCount"] == 0
            else:
                with pytest.raises(SSLError):
                    put(kinesis)
            kinesis.close()
        with pytest.raises(InvalidInput):
            _ = endpoint.ca_bundle


def test_a_client_that_does_not_trust_the_certificate_refuses() -> None:
    """Without the endpoint's certificate the default trust store says no."""
    with (
        LocalEndpoint(tls=Certificate.GOOD) as endpoint,
        socket.create_connection(("127.0.0.1", endpoint.port)) as raw,
        pytest.raises(ssl.SSLError),
    ):
        ssl.create_default_context().wrap_socket(raw, server_hostname="127.0.0.1")


# --- the endpoint itself ---


def test_the_other_services_of_moto_work(endpoint: LocalEndpoint, client: Callable[[str], Client]) -> None:
    """CloudWatch, SQS, S3 and Firehose answer on the same port."""
    client("cloudwatch").put_metric_data(Namespace="app", MetricData=[{"MetricName": "m", "Value": 1.0}])
    assert [m["MetricName"] for m in client("cloudwatch").list_metrics()["Metrics"]] == ["m"]
    queue = client("sqs").create_queue(QueueName="parked")["QueueUrl"]
    client("sqs").send_message(QueueUrl=queue, MessageBody="hello")
    assert client("sqs").receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "hello"
    s3 = client("s3")
    s3.create_bucket(Bucket="archive")
    s3.put_object(Bucket="archive", Key="a/b c/\u00fc", Body=b"hello")
    assert s3.get_object(Bucket="archive", Key="a/b c/\u00fc")["Body"].read() == b"hello"
    assert s3.head_object(Bucket="archive", Key="a/b c/\u00fc")["ContentLength"] == 5
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="archive")["Contents"]] == ["a/b c/\u00fc"]
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["archive"]
    assert client("firehose").list_delivery_streams()["DeliveryStreamNames"] == []
    assert repr(endpoint).startswith("LocalEndpoint(http://127.0.0.1:")


def test_a_failure_of_moto_is_a_500_and_no_end(endpoint: LocalEndpoint, client: Callable[[str], Client]) -> None:
    """What moto stumbles over is answered as a failure of the service; the endpoint goes on."""
    make_table(client("dynamodb"))
    body = b'{"TableName": "leases", "ExclusiveStartKey": {"leaseKey": 1}}'
    headers = {"x-amz-target": "DynamoDB_20120810.Scan", "content-type": "application/x-amz-json-1.0"}
    with urllib3.PoolManager() as pool:
        assert pool.request("POST", endpoint.url, body=body, headers=headers).status in {400, 500}
    assert client("dynamodb").scan(TableName="leases")["Count"] == 0


def test_wrong_arguments_are_refused_by_name(endpoint: LocalEndpoint) -> None:
    """A port or stream out of range is InvalidInput, a port in use an OSError."""
    for wrong in ({"port": 65_536}, {"port": -1}, {"streams": {"a b": 1}}, {"streams": {"a": 0}}):
        with pytest.raises(InvalidInput):
            LocalEndpoint(**wrong)
    with pytest.raises(OSError, match="in use"), LocalEndpoint(port=endpoint.port):
        pass
    with pytest.raises(InvalidInput):
        _ = LocalEndpoint().url


def test_faults_are_read_from_a_file(tmp_path: Path) -> None:
    """A file holds one rule or a list of them; one that cannot be read names `faults`."""
    path = tmp_path / "faults.json"
    path.write_text('[{"action": "drop"}, {"action": "hang"}]')
    assert [r.action for r in load_faults(str(path))] == ["drop", "hang"]
    path.write_text('{"action": "drop"}')
    assert load_faults(str(path)) == [FaultRule.from_json({"action": "drop"})]
    for text in ("{", '{"action": "explode"}'):
        path.write_text(text)
        with pytest.raises(InvalidInput):
            load_faults(str(path))
    with pytest.raises(InvalidInput, match="faults"):
        load_faults(str(tmp_path / "missing.json"))


def test_the_process_prints_its_url_first(tmp_path: Path) -> None:
    """`python -m shardline.local` serves: the first line is the URL; --null, --faults and --limits hold."""
    faults = tmp_path / "faults.json"
    faults.write_text('{"action": "error", "operation": "ListStreams"}')
    arguments = ["--stream", "orders:4", "--null", "--faults", str(faults), "--limits", "service"]
    process = subprocess.Popen([sys.executable, "-m", "shardline.local", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        kinesis = boto3.client("kinesis", endpoint_url=url, config=NO_RETRIES, **CREDENTIALS)
        with pytest.raises(ClientError):
            kinesis.list_streams()
        assert len({r["ShardId"] for r in put_keys(kinesis, 50)}) == 4
        assert stored(kinesis) == []
        kinesis.close()
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def put_keys(kinesis: Client, count: int) -> list[dict[str, Any]]:
    records = [{"Data": b"x", "PartitionKey": str(i)} for i in range(count)]
    outcomes: list[dict[str, Any]] = kinesis.put_records(StreamName="orders", Records=records)["Records"]
    return outcomes


def test_wrong_arguments_of_the_process_are_one_line(
    endpoint: LocalEndpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong stream, port or file ends with status 2 and one line that says what is allowed."""
    wrong = [["--stream", "a:b"], ["--stream", "a b:1"], ["--port", "70000"], ["--port", str(endpoint.port)]]
    for arguments in wrong:
        assert main(arguments) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n"), said.err.startswith("error: ")) == ("", 1, True)
    assert parse_stream("orders:4") == ("orders", 4)
    assert parse_stream("orders") == ("orders", 1)
    assert KinesisOptions(limits=Limits.SERVICE).limits == "service"
