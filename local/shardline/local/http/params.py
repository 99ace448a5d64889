"""The parameters of a Kinesis request, taken out by name and type; wrong ones are the service's errors."""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# (what a client sent, unknown until it is checked)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pybase64

from shardline.common.ports.kinesis import (
    Distribution,
    PutEntry,
    ShardFilter,
    ShardFilterKind,
    StartAt,
    StartKind,
    Stream,
)
from shardline.local.state.refusal import Refusal, invalid, validation

if TYPE_CHECKING:
    from enum import StrEnum
    from typing import TypeVar

    E = TypeVar("E", bound=StrEnum)

__all__ = ["Params"]


def _serialization(name: str) -> Refusal:
    return Refusal("SerializationException", f"{name} has a wrong type.")


class Params:
    """One request's parameters; each method names what it takes and raises `Refusal` for what it cannot take."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    def text(self, name: str) -> str | None:
        """Return an optional string."""
        value = self.content.get(name)
        if value is not None and not isinstance(value, str):
            raise _serialization(name)
        return value

    def required(self, name: str) -> str:
        """Return a string that must be there."""
        value = self.text(name)
        if value is None:
            raise validation(f"1 validation error detected: Value null at '{name}' failed: Member must not be null")
        return value

    def integer(self, name: str) -> int | None:
        """Return an optional integer."""
        value = self.content.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise _serialization(name)
        return value

    def flag(self, name: str) -> bool:
        """Return a boolean, False where it is missing."""
        value = self.content.get(name, False)
        if not isinstance(value, bool):
            raise _serialization(name)
        return value

    def seconds(self, name: str) -> float | None:
        """Return an optional timestamp in epoch seconds."""
        value = self.content.get(name)
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise _serialization(name)
        return value

    def nested(self, name: str) -> Params | None:
        """Return an optional structure."""
        value = self.content.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise _serialization(name)
        return Params(value)

    def mapping(self, name: str) -> dict[str, str]:
        """Return a map of strings, empty where it is missing."""
        value = self.content.get(name, {})
        if not (isinstance(value, dict) and all(isinstance(v, str) for v in value.values())):
            raise _serialization(name)
        return value

    def strings(self, name: str) -> list[str]:
        """Return a list of strings, empty where it is missing."""
        value = self.content.get(name, [])
        if not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
            raise _serialization(name)
        return value

    def choice(self, name: str, kinds: type[E]) -> E | None:
        """Return an optional value of an enumeration."""
        value = self.text(name)
        if value is None:
            return None
        try:
            return kinds(value)
        except ValueError:
            allowed = ", ".join(kinds)
            raise validation(
                f"Value at '{name}' failed to satisfy constraint: Member must be one of [{allowed}]"
            ) from None

    # --- the model's own shapes ---

    def stream_or_none(self) -> Stream | None:
        """Return the stream named by StreamName, StreamARN, or both where they agree."""
        name, arn = self.text("StreamName"), self.text("StreamARN")
        if name is None and arn is None:
            return None
        try:
            stream = Stream.of(arn) if arn is not None else Stream(name or "")
        except ValueError:
            raise validation("1 validation error detected: Value at 'streamName' or 'streamARN' is malformed") from None
        if arn is not None and stream.arn is None:
            raise validation("1 validation error detected: Value at 'streamARN' is malformed")
        if name is not None and name != stream.name:
            raise invalid("StreamName and StreamARN name different streams.")
        return stream

    def stream(self) -> Stream:
        """Return the stream, which must be named."""
        stream = self.stream_or_none()
        if stream is None:
            raise invalid("Either StreamName or StreamARN must be given.")
        return stream

    def on_demand(self) -> bool:
        """Return whether StreamModeDetails asks for ON_DEMAND."""
        details = self.nested("StreamModeDetails")
        if details is None:
            return False
        mode = details.required("StreamMode")
        if mode not in {"PROVISIONED", "ON_DEMAND"}:
            raise validation("Value at 'streamMode' must be one of [PROVISIONED, ON_DEMAND]")
        return mode == "ON_DEMAND"

    def distribution(self) -> Distribution | None:
        """Return RecordDistributionStrategy."""
        return self.choice("RecordDistributionStrategy", Distribution)

    def shard_filter(self) -> ShardFilter | None:
        """Return ShardFilter."""
        nested = self.nested("ShardFilter")
        if nested is None:
            return None
        kind = nested.choice("Type", ShardFilterKind)
        if kind is None:
            raise validation("Value null at 'shardFilter.type': Member must not be null")
        return ShardFilter(kind, nested.seconds("Timestamp"), nested.text("ShardId"))

    def start(self, kind_name: str = "Type", number_name: str = "SequenceNumber") -> StartAt:
        """Return a starting position: StartingPosition's own fields, or those of the given names."""
        kind = self.choice(kind_name, StartKind)
        if kind is None:
            raise validation(f"Value null at '{kind_name}': Member must not be null")
        return StartAt(kind, self.text(number_name), self.seconds("Timestamp"))

    def blob(self, name: str) -> bytes:
        """Return a blob that must be there: bytes (CBOR) or base64 text (JSON)."""
        value = self.content.get(name)
        if isinstance(value, str):
            try:
                return pybase64.b64decode(value, validate=True)
            except ValueError:
                raise _serialization(name) from None
        if isinstance(value, bytes):
            return value
        if value is None:
            raise validation(f"Value null at '{name}': Member must not be null")
        raise _serialization(name)

    def entry(self) -> PutEntry:
        """Return the entry of a PutRecord."""
        return PutEntry(self.blob("Data"), self.text("PartitionKey"), self.text("ExplicitHashKey"))

    def entries(self) -> list[PutEntry]:
        """Return the entries of a PutRecords; the hot path: types are checked on failure only."""
        records = self.content.get("Records")
        if not isinstance(records, list):
            raise (
                validation("Value null at 'records': Member must not be null")
                if records is None
                else _serialization("Records")
            )
        decode = pybase64.b64decode
        new = tuple.__new__  # Twice as quick as the NamedTuple's own constructor.
        try:
            entries: list[PutEntry] = [
                new(
                    PutEntry,
                    (
                        data if (data := r["Data"]).__class__ is bytes else decode(data, None, True),
                        r.get("PartitionKey"),
                        r.get("ExplicitHashKey"),
                    ),
                )
                for r in records
            ]
        except (KeyError, TypeError, ValueError, AttributeError):
            return [Params(r).entry() if isinstance(r, dict) else _raise(_serialization("Records")) for r in records]
        if not all(e[1].__class__ is str or e[1] is None for e in entries):
            raise _serialization("PartitionKey")
        if not all(e[2] is None or e[2].__class__ is str for e in entries):
            raise _serialization("ExplicitHashKey")
        return entries


def _raise(error: Refusal) -> PutEntry:
    raise error
