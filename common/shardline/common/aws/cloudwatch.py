# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""`MetricsApi` over CloudWatch's query interface: PutMetricData as a form, which every endpoint and emulator takes.

Large requests go compressed (gzip), as the service allows for this one operation (API PutMetricData).
"""

from __future__ import annotations

import gzip
import html
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from shardline.common.aws.faults import error_code, refusal
from shardline.common.aws.transport import Answer, Request, open_transport
from shardline.common.errors import InvalidInput
from shardline.common.limits import PUT_METRIC_DATA_MAX
from shardline.common.ports.metrics import MetricsApi

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from shardline.common.aws.transport import Transport
    from shardline.common.connection import Connection
    from shardline.common.ports.metrics import Datum

__all__ = ["CloudWatchAdapter", "open_metrics"]

_CONTENT_TYPE = "application/x-www-form-urlencoded; charset=utf-8"
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_CONNECTIONS_MAX = 4
COMPRESS_BYTES_MIN = 10_240
"""botocore's own threshold for compressed requests."""


class CloudWatchAdapter(MetricsApi):
    """PutMetricData over one transport; made by `open_metrics`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __repr__(self) -> str:
        return f"CloudWatchAdapter({self._transport.route!r})"

    async def put_metric_data(self, namespace: str, data: Sequence[Datum], *, timeout_s: float) -> None:
        """See `MetricsApi`."""
        if not 1 <= len(data) <= PUT_METRIC_DATA_MAX:
            raise InvalidInput("data", f"from 1 to {PUT_METRIC_DATA_MAX} data", str(len(data)))
        body = form(namespace, data)
        headers = {}
        if len(body) >= COMPRESS_BYTES_MIN:
            body = gzip.compress(body, compresslevel=6, mtime=0)
            headers = {"Content-Encoding": "gzip"}
        request = Request("PutMetricData", "", _CONTENT_TYPE, (body,), headers)
        answer = await self._transport.call(request, timeout_s=timeout_s, check=_fault_of)
        if answer.status != 200:
            code, message = _fault_of(answer)
            raise refusal("cloudwatch", "PutMetricData", answer.status, code, message)


@asynccontextmanager
async def open_metrics(connection: Connection) -> AsyncGenerator[MetricsApi]:
    """Open CloudWatch; see `Connection.metrics`."""
    async with open_transport(connection, "cloudwatch", connections_max=_CONNECTIONS_MAX) as transport:
        yield CloudWatchAdapter(transport)


def form(namespace: str, data: Sequence[Datum]) -> bytes:
    """Return the form of PutMetricData."""
    fields = {"Action": "PutMetricData", "Version": "2010-08-01", "Namespace": namespace}
    for number, datum in enumerate(data, 1):
        at = f"MetricData.member.{number}."
        fields[f"{at}MetricName"] = datum.name
        fields[f"{at}Timestamp"] = datetime.fromtimestamp(datum.timestamp_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        fields[f"{at}Unit"] = datum.unit
        for index, (name, value) in enumerate(datum.dimensions, 1):
            fields[f"{at}Dimensions.member.{index}.Name"] = name
            fields[f"{at}Dimensions.member.{index}.Value"] = value
        statistics = (("SampleCount", datum.sample_count), ("Sum", datum.sum))
        for name, number_of in (*statistics, ("Minimum", datum.minimum), ("Maximum", datum.maximum)):
            fields[f"{at}StatisticValues.{name}"] = repr(float(number_of))
    return urlencode(fields).encode()


def _fault_of(answer: Answer) -> tuple[str, str]:
    text = answer.body[:4096].decode(errors="replace")
    code, message = _CODE.search(text), _MESSAGE.search(text)
    typed = code[1] if code else None
    return error_code(None, typed, answer.status), html.unescape(message[1]) if message else ""
