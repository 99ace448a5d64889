"""What moto's DynamoDB lacks, in front of it: states that take time, and reads that are not up to date.

moto's tables are ACTIVE at once and its index never lags, so code that waits or decides on a stale read would not be
exercised (`endpoints.md` 9a). Stale answers are those of whole past moments, kept for half a minute at a grain of a
quarter second; only plain scans and index queries can be stale (no filter, no projection).
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# (JSON as moto gives it)

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import md5
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from shardline.common.errors import InvalidInput
from shardline.local.moto.dispatch import MotoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shardline.local.moto.dispatch import Moto

__all__ = ["DynamoFront", "DynamoOptions"]

_KIND: Final = "application/x-amz-json-1.0"
_WRITES: Final = frozenset({"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"})
_ITEMS: Final = _WRITES | {"GetItem", "Scan", "Query", "BatchGetItem"}
_GRAIN_S: Final = 0.25
_KEPT_S: Final = 30.0
_PLAIN = frozenset({"FilterExpression", "ProjectionExpression", "ScanFilter", "AttributesToGet", "QueryFilter"})
_KEY_CONDITION: Final = re.compile(r"\s*(#?\w+)\s*=\s*(:\w+)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamoOptions:
    """How DynamoDB behaves at the HTTP door; seconds everywhere, 0 unless set. Raises `InvalidInput`."""

    creating_s: float = 0.0
    index_creating_s: float = 0.0
    scan_staleness_s: float = 0.0
    index_staleness_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("creating_s", "index_creating_s"):
            if not (isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise InvalidInput(name, "a finite number of seconds, 0 or more")
        for name in ("scan_staleness_s", "index_staleness_s"):
            if not 0 <= getattr(self, name) <= _KEPT_S:
                raise InvalidInput(name, f"from 0 to {_KEPT_S:g} seconds")


class _Past(NamedTuple):
    """A table's rows as they stood until a moment (epoch seconds)."""

    until_s: float
    rows: list[dict[str, Any]]


class DynamoFront:
    """Answers DynamoDB requests through moto, with delays and staleness of its own; `clock` gives epoch seconds."""

    def __init__(self, moto: Moto, clock: Callable[[], float], options: DynamoOptions | None = None) -> None:
        self.options = options or DynamoOptions()
        self.keep_past = False  # Set while a scripted fault may show the past.
        self._moto = moto
        self._clock = clock
        self._ready_s: dict[str, float] = {}
        self._index_ready_s: dict[tuple[str, str], float] = {}
        self._past: dict[str, list[_Past]] = {}

    def call(
        self,
        operation: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | bytearray,
        age_s: float | None = None,
    ) -> MotoAnswer:
        """Carry out one request; `age_s` makes this one scan or query stale."""
        now = self._clock()
        if not self._touched(operation, age_s):
            return self._pass(target, headers, body)
        try:
            content = json.loads(body or b"{}")
        except ValueError:
            return self._pass(target, headers, body)
        refused = self._refuse(operation, content, now)
        if refused is not None:
            return refused
        if operation in _WRITES:
            self._remember(operation, content, headers, now)
        stale = self._stale(operation, content, headers, now, age_s)
        return stale or self._changed(operation, content, self._pass(target, headers, body), now)

    def _pass(self, target: str, headers: Mapping[str, str], body: bytes | bytearray) -> MotoAnswer:
        return self._moto.call("dynamodb", "POST", target, headers, body)

    def _touched(self, operation: str, age_s: float | None) -> bool:
        """Say whether anything but moto has a part in this request."""
        o = self.options
        delays = o.creating_s or o.index_creating_s or self._ready_s or self._index_ready_s
        stale = o.scan_staleness_s or o.index_staleness_s or self.keep_past or age_s
        return bool(stale and operation in _ITEMS) or bool(delays)

    # --- states that take time ---

    def _refuse(self, operation: str, content: dict[str, Any], now: float) -> MotoAnswer | None:
        table = content.get("TableName", "")
        if operation in _ITEMS and now < self._ready_s.get(table, 0.0):
            return _error("ResourceNotFoundException", "Requested resource not found")
        index = (table, content.get("IndexName", ""))
        if operation == "Query" and now < self._index_ready_s.get(index, 0.0):
            return _error("ValidationException", "Cannot read from backfilling global secondary index")
        return None

    def _changed(self, operation: str, content: dict[str, Any], answer: MotoAnswer, now: float) -> MotoAnswer:
        """Note what was made, and show the states of what is still on its way."""
        if answer.status != 200:  # noqa: PLR2004 - HTTP's success.
            return answer
        table = content.get("TableName", "")
        if operation == "CreateTable" and self.options.creating_s:
            self._ready_s[table] = now + self.options.creating_s
        if operation == "DeleteTable":
            self._forget(table)
        if operation == "UpdateTable" and self.options.index_creating_s:
            for update in content.get("GlobalSecondaryIndexUpdates", []):
                if "Create" in update:
                    made = (table, update["Create"]["IndexName"])
                    self._index_ready_s[made] = now + self.options.index_creating_s
        if operation in {"CreateTable", "UpdateTable", "DescribeTable"}:
            return self._with_states(table, answer, now)
        return answer

    def _forget(self, table: str) -> None:
        self._ready_s.pop(table, None)
        self._past.pop(table, None)
        self._index_ready_s = {k: v for k, v in self._index_ready_s.items() if k[0] != table}

    def _with_states(self, table: str, answer: MotoAnswer, now: float) -> MotoAnswer:
        fields = json.loads(answer.body)
        described = fields.get("Table") or fields.get("TableDescription")
        for index in described.get("GlobalSecondaryIndexes") or []:
            if now < self._index_ready_s.get((table, index["IndexName"]), 0.0):
                index["IndexStatus"], described["TableStatus"] = "CREATING", "UPDATING"
        if now < self._ready_s.get(table, 0.0):
            described["TableStatus"] = "CREATING"
        headers = {k: v for k, v in answer.headers.items() if k != "x-amz-crc32"}  # It was for the other body.
        return MotoAnswer(answer.status, headers, json.dumps(fields).encode())

    # --- reads that are not up to date ---

    def _remember(self, operation: str, content: dict[str, Any], headers: Mapping[str, str], now: float) -> None:
        """Keep the rows of the tables about to change, as they stand now."""
        if not (self.keep_past or self.options.scan_staleness_s or self.options.index_staleness_s):
            return
        tables = {content["TableName"]} if "TableName" in content else set()
        if operation == "TransactWriteItems":
            tables = {str(w["TableName"]) for item in content.get("TransactItems", []) for w in item.values()}
        for table in sorted(tables):
            kept = self._past.setdefault(table, [])
            if not kept or now - kept[-1].until_s >= _GRAIN_S:
                kept.append(_Past(now, self._rows(table, headers)))
                self._past[table] = [p for p in kept if now - p.until_s <= _KEPT_S]

    def _rows(self, table: str, headers: Mapping[str, str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        request: dict[str, Any] = {"TableName": table, "ConsistentRead": True}
        while True:
            page = self._ask("Scan", request, headers)
            rows += page.get("Items", [])
            if "LastEvaluatedKey" not in page:
                return rows
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _ask(self, operation: str, request: dict[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        mine = {**headers, "x-amz-target": f"DynamoDB_20120810.{operation}", "content-type": _KIND}
        answer = self._pass("/", mine, json.dumps(request).encode())
        fields: dict[str, Any] = json.loads(answer.body)
        return fields if answer.status == 200 else {}  # noqa: PLR2004 - HTTP's success.

    def _stale(
        self, operation: str, content: dict[str, Any], headers: Mapping[str, str], now: float, age_s: float | None
    ) -> MotoAnswer | None:
        usual_s = {"Scan": self.options.scan_staleness_s, "Query": self.options.index_staleness_s}
        age = usual_s.get(operation, 0.0) if age_s is None else age_s
        plain = operation in usual_s and not content.get("ConsistentRead") and not _PLAIN & content.keys()
        if not age or not plain:
            return None
        rows = next((p.rows for p in self._past.get(content["TableName"], []) if p.until_s > now - age), None)
        if rows is None:
            return None  # Nothing has changed since that moment: the present shows it.
        if operation == "Query":
            return self._stale_query(content, rows, headers)
        total, segment = content.get("TotalSegments", 1), content.get("Segment", 0)
        return _items([r for r in rows if _place(r) % total == segment])

    def _stale_query(
        self, content: dict[str, Any], rows: list[dict[str, Any]], headers: Mapping[str, str]
    ) -> MotoAnswer | None:
        matched = _KEY_CONDITION.fullmatch(content.get("KeyConditionExpression", ""))
        described = self._ask("DescribeTable", {"TableName": content["TableName"]}, headers).get("Table", {})
        indexes = {i["IndexName"]: i for i in described.get("GlobalSecondaryIndexes") or []}
        index = indexes.get(content.get("IndexName", ""))
        if matched is None or index is None:
            return None
        name = content.get("ExpressionAttributeNames", {}).get(matched[1], matched[1])
        value = content["ExpressionAttributeValues"][matched[2]]
        keys = [k["AttributeName"] for k in (*index["KeySchema"], *described["KeySchema"])]
        found = [r for r in rows if r.get(name) == value and all(k in r for k in keys)]
        projected = [{k: r[k] for k in keys} for r in found]
        return _items(sorted(projected, key=lambda r: [str(r[k]) for k in keys]))


def _items(rows: list[dict[str, Any]]) -> MotoAnswer:
    body = json.dumps({"Items": rows, "Count": len(rows), "ScannedCount": len(rows)}).encode()
    return MotoAnswer(200, {"content-type": _KIND}, body)


def _error(code: str, message: str) -> MotoAnswer:
    body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}).encode()
    return MotoAnswer(400, {"content-type": _KIND}, body)


def _place(row: dict[str, Any]) -> int:
    """Return where a row lies among the segments of a parallel scan: by the hash of its content."""
    text = json.dumps(row, sort_keys=True).encode()
    return int.from_bytes(md5(text, usedforsecurity=False).digest()[:4], "big")
