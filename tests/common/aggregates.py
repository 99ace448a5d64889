"""The vocabulary of the codec's tests: messages written by hand, and protobuf's runtime as the oracle.

The runtime gets its descriptor at run time, in a pool of its own (aws-kinesis-agg occupies the default one), with keys
declared as bytes: runtimes differ about bad UTF-8, so `oracle_verdict` judges texts itself.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf import (  # type: ignore[import-untyped]  # protobuf ships no types.
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    unknown_fields,
)
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types.

from shardline.common.deaggregation import FIELDS_PER_STEP, UserRecord, Validation, iterate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAGIC = bytes.fromhex("f3899ac2")
TEXT_BYTES_MAX = 1024 * 1024
TAGS_MAX = 1024
GROUPS_COMPARED_MAX = 90
REASONS = {"wire", "required", "index", "hash-key", "utf8", "empty", "too-many"}


class Row(NamedTuple):
    """A user record of a test."""

    partition_key: str | None
    data: bytes
    explicit_hash_key: str | None = None
    headers: Mapping[str, str] | None = None


def blob(message: bytes) -> bytes:
    """Return a message with magic and digest around it."""
    return MAGIC + message + hashlib.md5(message).digest()


def varint(value: int, width: int = 0) -> bytes:
    """Return a varint; `width` asks for more bytes than needed."""
    out: list[int] = []
    while value > 127 or len(out) + 1 < width:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes | int) -> bytes:
    """Return a field: bytes as length-prefixed, a number as varint."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def key(text: str | bytes) -> bytes:
    """Return an entry of the table of partition keys."""
    return field(1, text.encode() if isinstance(text, str) else text)


def hash_key(text: str | bytes) -> bytes:
    """Return an entry of the table of explicit hash keys."""
    return field(2, text.encode() if isinstance(text, str) else text)


def record(
    index: int | None = 0, data: bytes | None = b"x", hash_index: int | None = None, extra: bytes = b""
) -> bytes:
    """Return a record; None leaves a field out, `extra` is appended as it is."""
    inner = b"" if index is None else field(1, index)
    inner += b"" if hash_index is None else field(2, hash_index)
    inner += b"" if data is None else field(3, data)
    return field(3, inner + extra)


@cache
def _message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="kpl.proto", package="kpl", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    tag, rec, agg = (file.message_type.add(name=name) for name in ("Tag", "Record", "AggregatedRecord"))
    for message, name, number, label, kind, type_name in (
        (tag, "key", 1, kinds.LABEL_REQUIRED, kinds.TYPE_BYTES, None),
        (tag, "value", 2, kinds.LABEL_OPTIONAL, kinds.TYPE_BYTES, None),
        (rec, "partition_key_index", 1, kinds.LABEL_REQUIRED, kinds.TYPE_UINT64, None),
        (rec, "explicit_hash_key_index", 2, kinds.LABEL_OPTIONAL, kinds.TYPE_UINT64, None),
        (rec, "data", 3, kinds.LABEL_REQUIRED, kinds.TYPE_BYTES, None),
        (rec, "tags", 4, kinds.LABEL_REPEATED, kinds.TYPE_MESSAGE, ".kpl.Tag"),
        (agg, "partition_key_table", 1, kinds.LABEL_REPEATED, kinds.TYPE_BYTES, None),
        (agg, "explicit_hash_key_table", 2, kinds.LABEL_REPEATED, kinds.TYPE_BYTES, None),
        (agg, "records", 3, kinds.LABEL_REPEATED, kinds.TYPE_MESSAGE, ".kpl.Record"),
    ):
        message.field.add(name=name, number=number, label=label, type=kind, type_name=type_name)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("kpl.AggregatedRecord"))


def oracle_encode(rows: Iterable[Row]) -> bytes:
    """Return the aggregate of `rows` as protobuf's runtime writes it."""
    message = _message_class()()
    keys: dict[str | None, int] = {}
    hash_keys: dict[str, int] = {}
    for row in rows:
        out = message.records.add(partition_key_index=keys.setdefault(row.partition_key, len(keys)), data=row.data)
        if row.explicit_hash_key is not None:
            out.explicit_hash_key_index = hash_keys.setdefault(row.explicit_hash_key, len(hash_keys))
        for name, value in (row.headers or {}).items():
            out.tags.add(key=name.encode(), value=value.encode())
    message.partition_key_table.extend((text or "").encode() for text in keys)
    message.explicit_hash_key_table.extend(text.encode() for text in hash_keys)
    return blob(message.SerializeToString())


def _has_known_number(message: Any, numbers: int) -> bool:
    """Say whether a known field came in a wire type not its own, or a group holds a field 0 (upb lets that pass)."""
    fields = unknown_fields.UnknownFieldSet(message)
    found = [fields[number] for number in range(len(fields))]
    return any(each.field_number <= numbers for each in found) or any(map(_group_has_zero, found))


def _group_has_zero(found: Any) -> bool:
    is_group = found.wire_type == 3
    return is_group and any(inner.field_number == 0 or _group_has_zero(inner) for inner in found.data)


def _is_hash_key(text: bytes) -> bool:
    return 0 < len(text) <= 39 and all(48 <= byte < 58 for byte in text) and int(text) < 2**128


def _is_text(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return len(text) <= TEXT_BYTES_MAX


def oracle_verdict(data: bytes) -> list[Row] | str:
    """Return what a blob is by the runtime and a plain reading of the rules: its rows, "plain" or "malformed"."""
    body, checksum = data[4:-16], data[-16:]
    if data[:4] != MAGIC or len(data) <= 20 or hashlib.md5(body).digest() != checksum:
        return "plain"
    message = _message_class()()
    try:
        message.MergeFromString(body)
    except DecodeError:
        return "malformed"
    keys, hash_keys, records = message.partition_key_table, message.explicit_hash_key_table, message.records
    tags = [tag for rec in records for tag in rec.tags]
    good = (
        message.IsInitialized()
        and 0 < len(records) <= 2_000_000
        and not _has_known_number(message, 3)
        and not any(_has_known_number(rec, 4) for rec in records)
        and not any(_has_known_number(tag, 2) for tag in tags)
        and all(map(_is_text, [*keys, *(tag.key for tag in tags), *(tag.value for tag in tags)]))
        and all(map(_is_hash_key, hash_keys))
        and all(len(rec.tags) <= TAGS_MAX for rec in records)
        and all(rec.partition_key_index < len(keys) for rec in records)
        and all(
            rec.explicit_hash_key_index < len(hash_keys) for rec in records if rec.HasField("explicit_hash_key_index")
        )
    )
    return [_row(rec, keys, hash_keys) for rec in records] if good else "malformed"


def _row(rec: Any, keys: Any, hash_keys: Any) -> Row:
    hashed = rec.HasField("explicit_hash_key_index")
    return Row(
        keys[rec.partition_key_index].decode(),
        rec.data,
        hash_keys[rec.explicit_hash_key_index].decode() if hashed else None,
        {tag.key.decode(): tag.value.decode() for tag in rec.tags},
    )


def rows(records: Iterable[UserRecord]) -> list[Row]:
    """Return what records hold, as a test's rows."""
    return [Row(each.partition_key or "", each.data, each.explicit_hash_key, dict(each.headers)) for each in records]


def assert_agrees_with_the_oracle(data: bytes, fields_per_step: int = FIELDS_PER_STEP) -> None:
    """Check one blob: exactly one verdict, a known reason, and the records that protobuf's runtime reads.

    The runtime counts the depth of groups and messages together, ours of groups alone: near its limit of 100 only
    totality is checked.
    """
    check = Validation(data, fields_per_step=fields_per_step).run()
    made = rows(iterate(check, "outer"))
    assert (check.reason in REASONS) is (check.kind == "malformed")
    assert check.kind == "aggregate" or made == [Row("outer", data, None, {})]
    if sum(byte & 7 == 3 for byte in data) < GROUPS_COMPARED_MAX:
        expected = oracle_verdict(data)
        assert check.kind == (expected if isinstance(expected, str) else "aggregate")
        assert isinstance(expected, str) or made == expected
