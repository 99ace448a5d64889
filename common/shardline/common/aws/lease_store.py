# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""`LeaseStore` over DynamoDB's HTTP interface (JSON 1.0): requests and values by `items`, refusals by `faults`.

A failed condition is a value: the item as it stands comes with it (``ReturnValuesOnConditionCheckFailure = ALL_OLD``).
An answer whose CRC does not match its body is not used (`Ambiguous`), as botocore does.
"""

from __future__ import annotations

import json
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from shardline.common.aws.faults import error_code, refusal
from shardline.common.aws.items import from_item, key_fields, request_of, to_item
from shardline.common.aws.kinesis_wire import broken, decode, fault
from shardline.common.aws.transport import Answer, Request, open_transport
from shardline.common.errors import AlreadyExists, InUse, InvalidInput, NotFound, Rejected, Throttled
from shardline.common.limits import DYNAMODB_TRANSACT_WRITES_MAX
from shardline.common.ports.lease_store import (
    IndexDescription,
    LeaseStore,
    Page,
    TableDescription,
    WriteResult,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from shardline.common.aws.transport import Transport
    from shardline.common.connection import Connection
    from shardline.common.ports.lease_store import IndexSpec, Item, Key, TableSpec, Value, Write

__all__ = ["DynamoAdapter", "open_lease_store"]

_TARGET = "DynamoDB_20120810."
_CONTENT_TYPE = "application/x-amz-json-1.0"
_CONNECTIONS_MAX = 32
_FAILED = "ConditionalCheckFailedException"
_CANCELLED = "TransactionCanceledException"


class DynamoAdapter(LeaseStore):
    """Items of DynamoDB tables over one transport; made by `open_lease_store`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __repr__(self) -> str:
        return f"DynamoAdapter({self._transport.route!r})"

    async def get(self, table: str, key: Key, *, consistent: bool, timeout_s: float) -> Item | None:
        """See `LeaseStore`."""
        fields = {"TableName": table, "Key": key_fields(key), "ConsistentRead": consistent}
        answer = await self._call("GetItem", fields, timeout_s)
        raw = answer.get("Item")
        return None if raw is None else from_item(raw)

    async def write(self, write: Write, *, timeout_s: float) -> WriteResult:
        """See `LeaseStore`."""
        kind, fields = request_of(write)
        fields["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        if kind == "Update":
            fields["ReturnValues"] = "ALL_NEW"
        answer = await self._send(f"{kind}Item", fields, timeout_s)
        if answer.status == 200:
            return WriteResult(True, _written(kind, fields, decode(answer.content_type, answer.body)))
        code, message = _fault_of(answer)
        if code == _FAILED:
            raw = decode(answer.content_type, answer.body).get("Item")
            return WriteResult(False, from_item(raw) if raw else None)
        raise refusal("dynamodb", f"{kind}Item", answer.status, code, message, resource=_resource(fields))

    async def transact(self, writes: Sequence[Write], *, timeout_s: float) -> bool:
        """See `LeaseStore`."""
        if not 1 <= len(writes) <= DYNAMODB_TRANSACT_WRITES_MAX:
            raise InvalidInput("writes", f"from 1 to {DYNAMODB_TRANSACT_WRITES_MAX} writes", str(len(writes)))
        items = [{kind: fields} for kind, fields in map(request_of, writes)]
        answer = await self._send("TransactWriteItems", {"TransactItems": items}, timeout_s)
        if answer.status == 200:
            return True
        code, message = _fault_of(answer)
        if code == _CANCELLED:
            return _cancelled(decode(answer.content_type, answer.body), message)
        raise refusal("dynamodb", "TransactWriteItems", answer.status, code, message)

    async def scan_page(
        self,
        table: str,
        *,
        start: Mapping[str, Value] | None = None,
        segment: int = 0,
        total_segments: int = 1,
        consistent: bool = False,
        timeout_s: float,
    ) -> Page:
        """See `LeaseStore`."""
        fields: dict[str, Any] = {"TableName": table, "ConsistentRead": consistent}
        if total_segments > 1:
            fields |= {"Segment": segment, "TotalSegments": total_segments}
        return await self._page("Scan", fields, start, timeout_s)

    async def query_index(
        self,
        table: str,
        index: IndexSpec,
        hash_value: str,
        *,
        start: Mapping[str, Value] | None = None,
        timeout_s: float,
    ) -> Page:
        """See `LeaseStore`."""
        fields = {
            "TableName": table,
            "IndexName": index.name,
            "KeyConditionExpression": "#h = :h",
            "ExpressionAttributeNames": {"#h": index.hash_attribute},
            "ExpressionAttributeValues": {":h": {"S": hash_value}},
        }
        try:
            return await self._page("Query", fields, start, timeout_s)
        except Rejected as error:
            # The service calls a missing index a validation error; emulators call it not found.
            if "index" in str(error).lower():
                raise NotFound("IndexNotFound", f"index {index.name} of table {table}") from error
            raise

    async def describe_table(self, table: str, *, timeout_s: float) -> TableDescription | None:
        """See `LeaseStore`."""
        try:
            answer = await self._call("DescribeTable", {"TableName": table}, timeout_s)
        except NotFound:
            return None
        return _table(answer.get("Table"))

    async def create_table(self, spec: TableSpec, *, timeout_s: float) -> None:
        """See `LeaseStore`; a table that is there answers `InUse`, as the service says it."""
        fields: dict[str, Any] = {
            "TableName": spec.name,
            "KeySchema": [{"AttributeName": spec.key_attribute, "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": spec.key_attribute, "AttributeType": "S"}],
            "DeletionProtectionEnabled": spec.deletion_protection,
        }
        if (spec.read_capacity is None) != (spec.write_capacity is None):
            raise InvalidInput("read_capacity", "given together with write_capacity, or neither")
        if spec.read_capacity is None:
            fields["BillingMode"] = "PAY_PER_REQUEST"
        else:
            fields["BillingMode"] = "PROVISIONED"
            fields["ProvisionedThroughput"] = {
                "ReadCapacityUnits": spec.read_capacity,
                "WriteCapacityUnits": spec.write_capacity,
            }
        if spec.tags:
            fields["Tags"] = [{"Key": key, "Value": value} for key, value in spec.tags.items()]
        await self._call("CreateTable", fields, timeout_s)

    async def create_index(self, table: str, index: IndexSpec, *, timeout_s: float) -> None:
        """See `LeaseStore`; a provisioned table's index is given the table's own capacity, as the KCL does."""
        described = await self._call("DescribeTable", {"TableName": table}, timeout_s)
        creation: dict[str, Any] = {
            "IndexName": index.name,
            "KeySchema": [
                {"AttributeName": index.hash_attribute, "KeyType": "HASH"},
                {"AttributeName": index.range_attribute, "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
        capacity = _capacity(described.get("Table"))
        if capacity is not None:
            read, write = capacity
            creation["ProvisionedThroughput"] = {"ReadCapacityUnits": read, "WriteCapacityUnits": write}
        _refuse_existing(_table(described.get("Table")), index)
        fields = {
            "TableName": table,
            "AttributeDefinitions": [
                {"AttributeName": name, "AttributeType": "S"} for name in (index.hash_attribute, index.range_attribute)
            ],
            "GlobalSecondaryIndexUpdates": [{"Create": creation}],
        }
        await self._call("UpdateTable", fields, timeout_s)

    async def enable_point_in_time_recovery(self, table: str, *, timeout_s: float) -> None:
        """See `LeaseStore`."""
        fields = {"TableName": table, "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}}
        await self._call("UpdateContinuousBackups", fields, timeout_s)

    async def delete_table(self, table: str, *, timeout_s: float) -> None:
        """See `LeaseStore`."""
        await self._call("DeleteTable", {"TableName": table}, timeout_s)

    # --- one call ---

    async def _page(
        self, operation: str, fields: dict[str, Any], start: Mapping[str, Value] | None, timeout_s: float
    ) -> Page:
        if start is not None:
            fields["ExclusiveStartKey"] = to_item(start)
        answer = await self._call(operation, fields, timeout_s)
        raw = answer.get("Items")
        if not isinstance(raw, list):
            raise broken("no list of items")
        last = answer.get("LastEvaluatedKey")
        return Page([from_item(one) for one in raw], from_item(last) if last else None)

    async def _call(self, operation: str, fields: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        answer = await self._send(operation, fields, timeout_s)
        if answer.status != 200:
            code, message = _fault_of(answer)
            raise refusal("dynamodb", operation, answer.status, code, message, resource=_resource(fields))
        return decode(answer.content_type, answer.body)

    async def _send(self, operation: str, fields: Mapping[str, Any], timeout_s: float) -> Answer:
        body = json.dumps(fields, separators=(",", ":")).encode()
        request = Request(operation, _TARGET + operation, _CONTENT_TYPE, (body,))
        answer = await self._transport.call(request, timeout_s=timeout_s, check=_fault_of)
        checksum = answer.headers.get("x-amz-crc32")
        if checksum is not None and checksum != str(zlib.crc32(answer.body)):
            raise broken("a body that does not match its checksum")
        return answer


@asynccontextmanager
async def open_lease_store(connection: Connection) -> AsyncGenerator[LeaseStore]:
    """Open DynamoDB; see `Connection.lease_store`."""
    async with open_transport(connection, "dynamodb", connections_max=_CONNECTIONS_MAX) as transport:
        yield DynamoAdapter(transport)


def _fault_of(answer: Answer) -> tuple[str, str]:
    typed, message = fault(answer.content_type, answer.body)
    return error_code(answer.headers.get("x-amzn-errortype"), typed, answer.status), message


def _resource(fields: Mapping[str, Any]) -> str:
    """Return the resource of a request as a policy's ARN ends: ``table/app``, ``table/app/index/...``."""
    table = f"table/{fields.get('TableName', '')}"
    return f"{table}/index/{fields['IndexName']}" if "IndexName" in fields else table


def _written(kind: str, fields: Mapping[str, Any], answer: Mapping[str, Any]) -> Item | None:
    """Return the whole item after the write, as a read would give it."""
    if kind == "Put":
        return from_item(fields["Item"])
    return from_item(answer.get("Attributes")) if kind == "Update" else None


def _cancelled(fields: Mapping[str, Any], message: str) -> bool:
    """Return False where a condition cancelled the transaction; raise for any other reason."""
    raw = fields.get("CancellationReasons")
    reasons = {str(one.get("Code")) for one in raw if isinstance(one, dict)} if isinstance(raw, list) else set()
    reasons.discard("None")
    if reasons and not reasons - {"ConditionalCheckFailed"}:
        return False
    if reasons & {"ProvisionedThroughputExceeded", "ThrottlingError"}:
        raise Throttled(_CANCELLED, ", ".join(sorted(reasons)))
    if "TransactionConflict" in reasons:
        raise InUse(_CANCELLED, ", ".join(sorted(reasons)))
    if "ConditionalCheckFailed" in reasons:
        return False
    raise refusal("dynamodb", "TransactWriteItems", 400, _CANCELLED, message or ", ".join(sorted(reasons)))


def _capacity(raw: Any) -> tuple[int, int] | None:
    """Return a provisioned table's read and write capacity units, None for an on-demand one."""
    if not isinstance(raw, dict) or not isinstance(raw.get("ProvisionedThroughput"), dict):
        return None
    billing = raw.get("BillingModeSummary")
    if isinstance(billing, dict) and billing.get("BillingMode") == "PAY_PER_REQUEST":
        return None
    units = raw["ProvisionedThroughput"]
    read, write = int(units.get("ReadCapacityUnits") or 0), int(units.get("WriteCapacityUnits") or 0)
    return (read, write) if read and write else None


def _table(raw: Any) -> TableDescription:
    if not isinstance(raw, dict) or not isinstance(raw.get("KeySchema"), list):
        raise broken("no table")
    schema: list[dict[str, str]] = raw["KeySchema"]
    keys = sorted(schema, key=lambda one: one.get("KeyType") != "HASH")
    capacity = _capacity(raw)
    return TableDescription(
        name=str(raw.get("TableName")),
        arn=str(raw.get("TableArn") or ""),
        status=str(raw.get("TableStatus")),
        key_attributes=tuple(str(one.get("AttributeName")) for one in keys),
        indexes=tuple(
            IndexDescription(str(one.get("IndexName")), str(one.get("IndexStatus") or "ACTIVE"))
            for one in raw.get("GlobalSecondaryIndexes") or ()
        ),
        read_capacity=capacity[0] if capacity else None,
        write_capacity=capacity[1] if capacity else None,
        deletion_protection=bool(raw.get("DeletionProtectionEnabled")),
    )


def _refuse_existing(table: TableDescription, index: IndexSpec) -> None:
    """Raise what the service would raise for an index that is there or a table that is changing."""
    if any(one.name == index.name for one in table.indexes):
        raise AlreadyExists("IndexAlreadyExists", f"index {index.name} of table {table.name}")
    if table.status != "ACTIVE":
        raise InUse("ResourceInUseException", f"table {table.name} is {table.status}")
