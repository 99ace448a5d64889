"""Backends: CloudWatch's publisher and request, EMF lines, Prometheus, OpenTelemetry, logs."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest

from shardline.common.clock import AsyncioRuntime
from shardline.common.errors import Denied, InvalidInput, ShardlineError, Throttled
from shardline.common.events import Event, Events
from shardline.common.metrics.accumulator import AccumulatorSettings
from shardline.common.metrics.emf import EmfSink, lines
from shardline.common.metrics.logs import LogListener
from shardline.common.metrics.measure import Kind, Level, Measurement, Measuring, Metric, Unit, measurements_of
from shardline.common.metrics.names import Kcl, Kpl, metrics_of
from shardline.common.metrics.otel import OpenTelemetryListener
from shardline.common.metrics.prometheus import PrometheusListener, prometheus_name
from shardline.common.metrics.publisher import MetricsLost, MetricsPublisher
from shardline.common.ports.metrics import Datum, MetricsApi
from shardline.common.printing import printable
from shardline.consumer.rounds import PageRead

from tests.common.aws_server import CALL_S, Received, connection_to, recording, reply, serving

if TYPE_CHECKING:
    from collections.abc import Sequence

STREAM, SHARD = ("StreamName", "S"), ("ShardId", "3")
PENDING = Metric("UserRecordsPending", Unit.COUNT, Level.DETAILED, Kind.GAUGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Put(Event):
    """An event that measures."""

    name: ClassVar[str] = "test.put"
    records: int
    millis: float = 10.0

    def measurements(self) -> list[Measurement]:
        """Return what the put measures."""
        return [
            Measurement.of(Kpl.USER_RECORDS_PUT, 1, (STREAM, SHARD), samples=self.records),
            Measurement.of(Kpl.REQUEST_TIME, self.millis, (STREAM,)),
            Measurement.of(PENDING, self.records),
        ]


class Endpoint(MetricsApi):
    """CloudWatch, in memory: keeps requests, and fails while told to."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Sequence[Datum]]] = []
        self.error: ShardlineError | None = None
        self.hangs = False
        self.arrived = asyncio.Semaphore(0)

    async def put_metric_data(self, namespace: str, data: Sequence[Datum], *, timeout_s: float) -> None:
        """Keep the request."""
        if self.hangs:
            await asyncio.sleep(timeout_s * 1000)
        if self.error is not None:
            raise self.error
        self.requests.append((namespace, data))
        self.arrived.release()


def test_events_that_measure_are_told_by_their_method() -> None:
    """Any event may measure; one without the method measures nothing."""
    assert isinstance(Put(records=1), Measuring)
    assert list(measurements_of(MetricsLost(data=1, code="x"))) == []


# --- CloudWatch ---


def test_leaving_sends_the_rest_once() -> None:
    """What was counted is sent on leaving, in batches, under the namespace."""

    async def main() -> None:
        endpoint = Endpoint()
        publisher = MetricsPublisher(namespace="App", runtime=AsyncioRuntime(), batch_max=3)
        async with asyncio.TaskGroup() as group, publisher.running(endpoint, group):
            publisher(Put(records=4))
            publisher(Put(records=6))
        data = [datum for _, batch in endpoint.requests for datum in batch]
        assert [len(batch) for _, batch in endpoint.requests] == [3, 3]
        assert {namespace for namespace, _ in endpoint.requests} == {"App"}
        (total,) = [one for one in data if one.name == "UserRecordsPut" and one.dimensions == ()]
        assert (total.sum, total.sample_count, total.unit) == (10, 10, "Count")
        assert (publisher.published, publisher.lost) == (6, 0)

    asyncio.run(main())


def test_the_interval_sends_without_leaving() -> None:
    """Each interval sends what the interval counted, and nothing twice."""

    async def main() -> None:
        endpoint = Endpoint()
        settings = AccumulatorSettings(rollup=False, level=Level.SUMMARY)
        publisher = MetricsPublisher(namespace="App", runtime=AsyncioRuntime(), settings=settings, interval_s=0.01)
        async with asyncio.TaskGroup() as group, publisher.running(endpoint, group):
            for sent in (1, 2):
                publisher(Put(records=sent))
                await asyncio.wait_for(endpoint.arrived.acquire(), CALL_S)
        assert [[one.sum for one in batch] for _, batch in endpoint.requests] == [[1], [2]]

    asyncio.run(main())


def test_a_failing_endpoint_costs_its_data_and_nothing_else() -> None:
    """Failures are counted and said; the data are given up, later ones are sent."""
    events: list[Event] = []

    async def main() -> None:
        endpoint = Endpoint()
        publisher = MetricsPublisher(namespace="App", runtime=AsyncioRuntime(), events=Events(events.append))
        publisher(Put(records=1))
        endpoint.error = Throttled("ThrottlingException")
        await publisher.publish(endpoint)
        endpoint.error = None
        await publisher.publish(endpoint)
        assert endpoint.requests == []
        publisher(Put(records=1))
        await publisher.publish(endpoint)
        assert (publisher.lost, publisher.published) == (6, 6)

    asyncio.run(main())
    assert events == [MetricsLost(data=6, code="ThrottlingException")]


def test_a_hanging_endpoint_does_not_hold_up_leaving() -> None:
    """The final send is bounded."""

    async def main() -> None:
        endpoint = Endpoint()
        endpoint.hangs = True
        publisher = MetricsPublisher(namespace="App", runtime=AsyncioRuntime(), final_timeout_s=0.05)
        async with asyncio.TaskGroup() as group, publisher.running(endpoint, group):
            publisher(Put(records=1))
        assert (publisher.published, publisher.lost) == (0, 6)

    asyncio.run(asyncio.wait_for(main(), CALL_S))


@pytest.mark.parametrize(
    "settings", [{"namespace": "AWS/x"}, {"namespace": ""}, {"interval_s": 0.0}, {"batch_max": 1001}, {"batch_max": 0}]
)
def test_publisher_settings_out_of_range(settings: dict[str, object]) -> None:
    """Each is refused by name."""
    values = {"namespace": "App", "runtime": AsyncioRuntime(), **settings}
    with pytest.raises(InvalidInput, match=next(iter(settings))):
        MetricsPublisher(**values)  # type: ignore[arg-type]  # wrong values are the point.


def datum(number: int = 1) -> Datum:
    """Return a statistic set."""
    dimensions = (STREAM, ("Operation", "a&b=c"))
    return Datum(
        name=f"M{number}",
        dimensions=dimensions,
        unit="Milliseconds",
        timestamp_s=1_700_000_000.0,
        sample_count=3,
        sum=6.5,
        minimum=1,
        maximum=4,
    )


def test_put_metric_data_on_the_wire() -> None:
    """A form with statistic sets; large ones are compressed."""
    seen: list[Received] = []

    async def main() -> None:
        answer = reply(200, b"<PutMetricDataResponse/>", "text/xml")
        async with serving(recording(seen, answer)) as url, connection_to(url).metrics() as metrics:
            await metrics.put_metric_data("App", [datum()], timeout_s=CALL_S)
            await metrics.put_metric_data("App", [datum(n) for n in range(100)], timeout_s=CALL_S)
            with pytest.raises(InvalidInput, match="data"):
                await metrics.put_metric_data("App", [], timeout_s=CALL_S)

    asyncio.run(main())
    form = {name: value for name, (value,) in parse_qs(seen[0].body.decode()).items()}
    assert form == {
        "Action": "PutMetricData",
        "Version": "2010-08-01",
        "Namespace": "App",
        "MetricData.member.1.MetricName": "M1",
        "MetricData.member.1.Timestamp": "2023-11-14T22:13:20Z",
        "MetricData.member.1.Unit": "Milliseconds",
        "MetricData.member.1.Dimensions.member.1.Name": "StreamName",
        "MetricData.member.1.Dimensions.member.1.Value": "S",
        "MetricData.member.1.Dimensions.member.2.Name": "Operation",
        "MetricData.member.1.Dimensions.member.2.Value": "a&b=c",
        "MetricData.member.1.StatisticValues.SampleCount": "3.0",
        "MetricData.member.1.StatisticValues.Sum": "6.5",
        "MetricData.member.1.StatisticValues.Minimum": "1.0",
        "MetricData.member.1.StatisticValues.Maximum": "4.0",
    }
    assert "/us-east-1/monitoring/" in seen[0].headers["authorization"]
    assert seen[1].headers["content-encoding"] == "gzip"
    assert b"MetricData.member.100.MetricName=M99" in gzip.decompress(seen[1].body)


def test_cloudwatch_refusals_are_of_the_tree() -> None:
    """Its XML errors become the tree's kinds."""
    body = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>not &amp; ok</Message></Error></ErrorResponse>"

    async def main() -> None:
        async with serving(lambda _: reply(403, body, "text/xml")) as url, connection_to(url).metrics() as metrics:
            with pytest.raises(Denied, match="not & ok") as refused:
                await metrics.put_metric_data("App", [datum()], timeout_s=CALL_S)
            assert refused.value.action == "cloudwatch:PutMetricData"

    asyncio.run(main())


# --- EMF ---


def test_emf_lines_name_what_they_hold() -> None:
    """One line per set of dimensions; the values keep minimum, maximum, average and count."""
    written: list[str] = []
    asyncio.run(EmfSink(written.append).put_metric_data("App", [datum(1), datum(2)], timeout_s=1))
    (line,) = map(json.loads, written)
    definition = line["_aws"]["CloudWatchMetrics"][0]
    assert line["_aws"]["Timestamp"] == 1_700_000_000_000
    assert definition["Dimensions"] == [["StreamName", "Operation"]]
    assert [metric["Name"] for metric in definition["Metrics"]] == ["M1", "M2"]
    assert line["StreamName"] == "S"
    assert sorted(line["M1"]) == [1, 1.5, 4]


def test_emf_limits() -> None:
    """More than 100 metrics are split over lines; more than 100 samples are thinned, the average kept."""
    assert len(lines("App", [datum(n) for n in range(101)])) == 2
    many = Datum(
        name="m", dimensions=(), unit="Count", timestamp_s=1, sample_count=1000, sum=2000, minimum=1, maximum=3
    )
    values = json.loads(lines("App", [many])[0])["m"]
    assert len(values) == 100
    assert sum(values) / 100 == pytest.approx(2)
    one = Datum(name="m", dimensions=(), unit="Count", timestamp_s=1, sample_count=1, sum=5, minimum=5, maximum=5)
    assert json.loads(lines("App", [one])[0])["m"] == 5


def test_emf_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a writer of its own each line is printed; two samples keep minimum and maximum."""
    two = replace(datum(1), sample_count=2, sum=5)
    same = replace(datum(2), sample_count=3, sum=12, minimum=4)
    asyncio.run(EmfSink().put_metric_data("App", [two, same], timeout_s=1))
    line = json.loads(capsys.readouterr().out)
    assert (line["M1"], line["M2"]) == ([1, 4], [4, 4, 4])


# --- Prometheus, OpenTelemetry ---


def test_prometheus_counts_what_was_measured() -> None:
    """Counters add, gauges hold the last value, distributions have sum and count; labels are the dimensions."""
    registry = CollectorRegistry()
    listener = PrometheusListener(registry)
    listener(Put(records=4, millis=10))
    listener(Put(records=6, millis=20))
    text = generate_latest(registry).decode()
    assert 'shardline_user_records_put_total{shard_id="3",stream_name="S"} 10.0' in text
    assert "shardline_user_records_pending 6.0" in text
    assert 'shardline_request_time_milliseconds_sum{stream_name="S"} 30.0' in text
    assert 'shardline_request_time_milliseconds_count{stream_name="S"} 2.0' in text
    listener.close()
    assert generate_latest(registry) == b""


def test_prometheus_names_of_the_tables_do_not_collide() -> None:
    """Every metric of the tables has one kind and unit under its Prometheus name, and all can be exposed at once."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class All(Event):
        def measurements(self) -> list[Measurement]:
            tables = (*metrics_of(Kpl).values(), *metrics_of(Kcl).values())
            return [Measurement.of(metric, 1, (("Operation", metric.level.name),)) for metric in tables]

    registry = CollectorRegistry()
    PrometheusListener(registry)(All())
    declared = [
        line.split()[2] for line in generate_latest(registry).decode().splitlines() if line.startswith("# TYPE")
    ]
    assert len(declared) == len(set(declared))
    kinds: dict[str, set[str]] = {}
    for metric in (*metrics_of(Kpl).values(), *metrics_of(Kcl).values()):
        kinds.setdefault(prometheus_name(metric), set()).add(metric.kind)
    assert [name for name, found in kinds.items() if len(found) > 1] == []


def test_prometheus_series_are_bounded() -> None:
    """Beyond the limit further series are dropped and counted; the level holds too."""
    listener = PrometheusListener(CollectorRegistry(), series_max=1)
    listener(Put(records=1))
    assert listener.dropped == 2
    quiet = PrometheusListener(CollectorRegistry(), level=Level.NONE)
    quiet(Put(records=1))
    assert list(quiet.collect()) == []


def test_opentelemetry_follows_the_kcls_names() -> None:
    """Names under aws.kinesis.client, the KCL's attributes, one record per measurement."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    listener = OpenTelemetryListener(provider.get_meter("test"), prefix="aws.kinesis.producer.")
    listener(Put(records=4, millis=10))
    listener(Put(records=6, millis=20))
    data = reader.get_metrics_data()
    assert data is not None
    found = {
        metric.name: metric.data.data_points[0]
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    put = found["aws.kinesis.producer.user_records_put"]
    assert getattr(put, "value", None) == 10
    assert dict(put.attributes or {}) == {"aws.kinesis.stream_name": "S", "aws.kinesis.shard.id": "3"}
    assert getattr(found["aws.kinesis.producer.user_records_pending"], "value", None) == 6
    assert getattr(found["aws.kinesis.producer.request_time"], "sum", None) == 30
    provider.shutdown()


# --- logs ---


class Lines:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []

    def info(self, event: str, **fields: object) -> None:
        """Keep an info."""
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: object) -> None:
        """Keep a warning."""
        self.lines.append(("warning", event, fields))


def test_events_are_logged_by_name_and_level() -> None:
    """The event's name, level and fields reach the logger."""
    logger = Lines()
    LogListener(logger)(MetricsLost(data=2, code="Throttled"))
    assert logger.lines == [("warning", "metrics.lost", {"data": 2, "code": "Throttled"})]


def test_events_below_the_level_are_not_logged() -> None:
    """What comes once per page or request can be left out; a level that does not exist is refused."""
    logger = Lines()
    listener = LogListener(logger, level="info")
    listener(Event())
    listener(PageRead(lease="shardId-000000000000", records=0, seconds=0.0))
    assert logger.lines == [("info", "event", {})]
    with pytest.raises(InvalidInput, match="debug, info, warning, error, critical"):
        LogListener(logger, level="trace")


def test_fields_cannot_forge_log_lines() -> None:
    """Control characters are escaped, in nested values too."""
    assert printable("a\nb\x1b[2Jc") == "a\\nb\\x1b[2Jc"
    assert printable(["ok", "\u2028"]) == ["ok", "\\u2028"]
    assert printable(5) == 5
    assert printable(None) is None


def test_structlog_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a logger of one's own structlog's is used."""
    LogListener()(MetricsLost(data=2, code="Throttled"))
    out = capsys.readouterr().out
    assert "metrics.lost" in out
    assert "Throttled" in out


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("prometheus", "prometheus_client", "prometheus"),
        ("otel", "opentelemetry", "otel"),
        ("logs", "structlog", "producer"),
    ],
)
def test_a_missing_backend_names_its_extra(module: str, package: str, extra: str) -> None:
    """Importing a backend without its library says which pip install helps."""
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from shardline.common.errors import MissingExtra\n"
        f"try:\n    import shardline.common.metrics.{module}\nexcept MissingExtra as e:\n    print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"pip install 'shardline[{extra}]'" in done.stdout
