"""Step one of deaggregation: decide what a blob is, whole, before any record of it leaves.

For every byte string exactly one verdict, `plain`, `aggregate` or `malformed` with a reason code (`Validation.reason`):

=============  =======================================================================================
``wire``       the message is not protobuf, or a known field has another wire type
``required``   a record without key index or data, or a tag without a key
``index``      a record points outside the table of partition keys or explicit hash keys
``hash-key``   an explicit hash key is not 1 to 39 ASCII digits, or is above 2^128 - 1
``utf8``       a partition key or tag is not UTF-8
``empty``      no record at all
``too-many``   more than `max_sub_records`, more than 1,024 tags on one record, or a text above 1 MiB
=============  =======================================================================================

Invariants
  * The routine is resumable: `step()` does a bounded piece of work (fields, text bytes and hashed bytes all count), so
    that a driver can yield to its loop between steps. Nothing recurses, whatever the input nests.
  * What a blob costs in memory is bounded by its length: positions live in arrays of four bytes, texts are kept up to
    a bound and read from the blob beyond it. Peak: below 8 x length + 4 MiB.
  * Where the format lets decoders differ, this one does what protobuf's runtimes agree on: last value of a field wins,
    unknown fields and groups are skipped (100 deep), varints need not be in their shortest form.
"""

from __future__ import annotations

from hashlib import md5
from itertools import repeat

from shardline.common._columns import POSITION_MAX, Columns
from shardline.common._reading import Malformed, read_span, read_tag, read_varint, skip_field
from shardline.common._usual import USUAL_BLOB_BYTES_MAX, Usual
from shardline.common._wire import (
    DIGEST_BYTES,
    HASH_KEY_DIGITS_MAX,
    HASH_KEY_ENTRY,
    HEADERS_MAX,
    KEY_ENTRY,
    MAGIC,
    MAGIC_BYTES,
    OVERHEAD_BYTES,
    RECORD_DATA,
    RECORD_ENTRY,
    RECORD_HASH_INDEX,
    RECORD_KEY_INDEX,
    RECORD_TAG,
    TAG_KEY,
    TAG_VALUE,
    TEXT_BYTES_MAX,
)
from shardline.common.errors import InvalidInput
from shardline.common.limits import AGGREGATE_SUB_RECORDS_MAX, HASH_KEY_MAX, PARTITION_KEY_LENGTH_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from typing import Literal

    Steps = Generator[None, None, None]
    Kind = Literal["plain", "aggregate", "malformed"]

__all__ = ["FIELDS_PER_STEP", "Validation"]

FIELDS_PER_STEP = 1024
"""Fields (a record of the usual shape counts as one) that one step reads: some one to three milliseconds."""
DIGEST_BYTES_PER_STEP = 512 * 1024
TEXT_BYTES_PER_FIELD = 256
"""So many bytes of text weigh as much as one more field."""
_ONE_BYTE = 127  # The most that a varint of one byte holds.
_SECOND_BYTE = [(high << 7) - 128 for high in range(128)]
"""What the second and last byte of a varint adds to the first, whose highest bit was set."""
NOTHING_KNOWN: Mapping[bytes, str] = {}
_NOTHING = Usual(b"", NOTHING_KNOWN)
"""The columns of what is no aggregate; nobody reads into it."""
_DIGITS = frozenset(b"0123456789")


class Validation:
    """The resumable check of one blob; after it the positions of all records, by columns.

    `step()` until it returns True (or `run()`), then `kind`, and for an aggregate the columns. `steps` counts the steps
    done, `fields_per_step` bounds each of them. `known` are partition keys and their texts, which then need not be made
    again. One owner at a time; abandoning it half way leaves nothing behind.
    """

    __slots__ = (
        "_room",
        "_sub_records_max",
        "_work",
        "checksum_mismatch",
        "columns",
        "data",
        "fields_per_step",
        "kind",
        "reason",
        "steps",
    )

    def __init__(
        self,
        data: bytes,
        *,
        max_sub_records: int = AGGREGATE_SUB_RECORDS_MAX,
        fields_per_step: int = FIELDS_PER_STEP,
        known: Mapping[bytes, str] = NOTHING_KNOWN,
    ) -> None:
        self.data = data = _as_bytes(data)
        self.columns: Columns | Usual = _NOTHING
        self.kind: Kind | None = None
        self.reason: str | None = None
        self.checksum_mismatch = False
        self.fields_per_step = fields_per_step
        self.steps = 0
        self._room = 0
        self._work: Steps | None = None
        if data[:MAGIC_BYTES] != MAGIC or len(data) <= OVERHEAD_BYTES:
            self.kind = "plain"
            return
        if max_sub_records < 1:
            raise InvalidInput("max_sub_records", "1 or more", str(max_sub_records))
        if fields_per_step < 1:
            raise InvalidInput("fields_per_step", "1 or more", str(fields_per_step))
        self._sub_records_max = max_sub_records
        self._work = self._run(known)

    def __repr__(self) -> str:
        state = self.kind or "under way"
        return f"Validation({len(self.data)} bytes, {state}{f': {self.reason}' if self.reason else ''})"

    def __len__(self) -> int:
        """Return how many user records the blob stands for: those of the aggregate, else itself."""
        return len(self.columns) if self.kind == "aggregate" else 1

    def run(self) -> Validation:
        """Go through to the verdict in one go; returns itself."""
        while not self.step():
            pass
        return self

    def step(self) -> bool:
        """Do one bounded piece of work; returns True once the verdict stands (and ever after)."""
        if self._work is None:
            return True
        self.steps += 1
        self._room = self.fields_per_step
        try:
            next(self._work)
        except StopIteration:
            self.kind = self.kind or "aggregate"
        except Malformed as malformed:
            self.kind, self.reason = "malformed", str(malformed)
            self.columns = _NOTHING
        else:
            return False
        self._work = None
        return True

    # ---- the work: generators that yield where a step ends ------------------------------------------------------

    def _run(self, known: Mapping[bytes, str]) -> Steps:
        message = memoryview(self.data)[MAGIC_BYTES:-DIGEST_BYTES]
        checksum = md5(usedforsecurity=False)
        for at in range(0, len(message), DIGEST_BYTES_PER_STEP):
            if at:
                yield
            checksum.update(message[at : at + DIGEST_BYTES_PER_STEP])
        if checksum.digest() != self.data[-DIGEST_BYTES:]:
            self.kind, self.checksum_mismatch = "plain", True
            return
        if len(self.data) <= USUAL_BLOB_BYTES_MAX:
            usual = self.columns = Usual(self.data, known)
            if (yield from usual.read(self.fields_per_step)) and len(usual) <= self._sub_records_max:
                return
            yield  # What was read counts, too.
        if len(self.data) > POSITION_MAX:  # The service's largest record has 10 MiB.
            raise Malformed("too-many")
        self.columns = columns = Columns(self.data)
        yield from self._message(columns, MAGIC_BYTES, len(self.data) - DIGEST_BYTES)
        if not columns:
            raise Malformed("empty")
        if not columns.closed:
            raise Malformed("index")

    def _message(self, columns: Columns, at: int, end: int) -> Steps:
        """Read the fields of AggregatedRecord: runs of the usual shape at once, the rest one by one."""
        blob = self.data
        while at < end:
            if blob[at] == KEY_ENTRY:
                at = self._usual_keys(columns, at, end)
            if at < end and blob[at] == RECORD_ENTRY:
                at = self._usual_records(columns, at, end)
            if self._room <= 0:
                yield
                continue
            if at == end:
                return
            tag, at = read_tag(blob, at, end)
            self._room -= 1
            if tag == RECORD_ENTRY:
                start, at = read_span(blob, at, end)
                yield from self._record(columns, start, at)
            elif tag in {KEY_ENTRY, HASH_KEY_ENTRY}:
                start, at = read_span(blob, at, end)
                self._table_entry(columns, tag, start, at)
            elif tag >> 3 <= RECORD_ENTRY >> 3:
                raise Malformed("wire")
            else:
                at = yield from self._skip(tag, at, end)

    def _usual_keys(self, columns: Columns, first: int, end: int) -> int:
        """Read partition keys of fewer than 128 bytes while they follow each other; returns where they end."""
        blob = self.data
        texts: list[str] = []
        at = first
        try:
            for _ in repeat(None, self._room):
                # Reading a few bytes past `end` is safe: the digest stands there.
                if blob[at] != KEY_ENTRY:
                    break
                size = blob[at + 1]
                start = at + 2
                stop = start + size
                if size > _ONE_BYTE or stop > end:
                    break
                texts.append(blob[start:stop].decode())
                at = stop
        except UnicodeDecodeError:
            raise Malformed("utf8") from None
        self._room -= len(texts)
        columns.empty_keys += texts.count("")
        columns.keys.add_run(first, texts)
        return at

    def _usual_records(self, columns: Columns, first: int, end: int) -> int:  # noqa: C901 - the hot loop: no calls.
        """Read records as encoders write them (index, hash index or none, data) while they follow each other.

        Returns where they end. This loop is what decoding costs: everything in it is spelled out on purpose. It looks
        at `end` only when it is through: one that goes beyond is taken back, and read where nothing is left to chance.
        So is one with a number of three bytes or more, for which `_SECOND_BYTE` has no entry.
        """
        blob = self.data
        keys: list[int] = []
        starts: list[int] = []
        stops: list[int] = []
        hashed: list[tuple[int, int]] = []
        at = first
        try:
            for _ in repeat(None, min(self._room, self._sub_records_max - len(columns))):
                if blob[at] != RECORD_ENTRY:
                    break
                size, body = blob[at + 1], at + 2
                if size > _ONE_BYTE:
                    size += _SECOND_BYTE[blob[body]]
                    body += 1
                stop = body + size
                if blob[body] != RECORD_KEY_INDEX:
                    break
                key = blob[body + 1]
                body += 2
                if key > _ONE_BYTE:
                    key += _SECOND_BYTE[blob[body]]
                    body += 1
                if blob[body] != RECORD_DATA:
                    if blob[body] != RECORD_HASH_INDEX or blob[body + 2] != RECORD_DATA or blob[body + 1] > _ONE_BYTE:
                        break
                    hashed.append((len(keys), blob[body + 1]))
                    body += 2
                size, body = blob[body + 1], body + 2
                if size > _ONE_BYTE:
                    size += _SECOND_BYTE[blob[body]]
                    body += 1
                if body + size != stop:
                    break
                keys.append(key)
                starts.append(body)
                stops.append(stop)
                at = stop
        except IndexError:
            pass  # A long number; or beyond the digest: the last record's size was a lie.
        while stops and stops[-1] > end:
            del keys[-1], starts[-1], stops[-1]
        while hashed and hashed[-1][0] >= len(keys):
            del hashed[-1]
        self._room -= len(keys)
        columns.add_run(keys, starts, stops, hashed)
        return stops[-1] if stops else first

    def _table_entry(self, columns: Columns, tag: int, start: int, stop: int) -> None:
        """Append blob[start:stop] to the table that `tag` names."""
        text = self._text(start, stop) if tag == KEY_ENTRY else self._hash_key_text(start, stop)
        if tag == HASH_KEY_ENTRY:
            columns.hash_keys.add(start, stop, text)
            return
        columns.keys.add(start, stop, text)
        columns.empty_keys += not text
        columns.long_keys += len(text) > PARTITION_KEY_LENGTH_MAX

    def _text(self, start: int, stop: int) -> str:
        """Return blob[start:stop] as text; raise `Malformed` if it is none, or too long for one step."""
        if stop - start > TEXT_BYTES_MAX:
            raise Malformed("too-many")
        self._room -= (stop - start) // TEXT_BYTES_PER_FIELD
        try:
            return str(self.data[start:stop], "utf-8")
        except UnicodeDecodeError:
            raise Malformed("utf8") from None

    def _hash_key_text(self, start: int, stop: int) -> str:
        """Return blob[start:stop] as the decimal text of a hash key; raise `Malformed` if it is none."""
        digits = self.data[start : min(stop, start + HASH_KEY_DIGITS_MAX + 1)]
        if not 0 < len(digits) <= HASH_KEY_DIGITS_MAX or not _DIGITS.issuperset(digits) or int(digits) > HASH_KEY_MAX:
            raise Malformed("hash-key")
        return str(digits, "ascii")

    def _record(self, columns: Columns, start: int, stop: int) -> Steps:
        """Read one record field by field, in any order, and append it to the columns."""
        blob = self.data
        key = hash_index = data_start = data_stop = -1
        tags = 0
        at = start
        while at < stop:
            if self._room <= 0:
                yield
            self._room -= 1
            tag, at = read_tag(blob, at, stop)
            if tag == RECORD_KEY_INDEX:
                key, at = read_varint(blob, at, stop)
            elif tag == RECORD_HASH_INDEX:
                hash_index, at = read_varint(blob, at, stop)
            elif tag == RECORD_DATA:
                data_start, at = read_span(blob, at, stop)
                data_stop = at
            elif tag == RECORD_TAG:
                tags += 1
                tag_start, at = read_span(blob, at, stop)
                yield from self._tag(tag_start, at)
            elif tag >> 3 <= RECORD_TAG >> 3:
                raise Malformed("wire")
            else:
                at = yield from self._skip(tag, at, stop)
        if key < 0 or data_start < 0:
            raise Malformed("required")
        if tags > HEADERS_MAX or len(columns) >= self._sub_records_max:
            raise Malformed("too-many")
        columns.add(key, hash_index, data_start, data_stop)
        if tags:
            columns.add_tags(tags, start, stop)

    def _tag(self, at: int, stop: int) -> Steps:
        """Check one tag: a key and perhaps a value, both text; of each the last one given counts."""
        blob = self.data
        spans: dict[int, tuple[int, int]] = {}
        while at < stop:
            if self._room <= 0:
                yield
            self._room -= 1
            tag, at = read_tag(blob, at, stop)
            if tag in {TAG_KEY, TAG_VALUE}:
                spans[tag] = read_span(blob, at, stop)
                at = spans[tag][1]
            elif tag >> 3 <= TAG_VALUE >> 3:
                raise Malformed("wire")
            else:
                at = yield from self._skip(tag, at, stop)
        if TAG_KEY not in spans:
            raise Malformed("required")
        for start, end in spans.values():
            self._text(start, end)

    def _skip(self, tag: int, at: int, stop: int) -> Generator[None, None, int]:
        """Pass over an unknown field, groups included; returns where it ends."""
        fields = skip_field(self.data, tag, at, stop)
        while True:
            try:
                next(fields)
            except StopIteration as done:
                return int(done.value)
            self._room -= 1
            if self._room <= 0:
                yield


def _as_bytes(data: object) -> bytes:
    """Return bytes as they are and other buffers copied (so that nobody changes them later); refuse the rest."""
    if isinstance(data, bytes):
        return data
    if isinstance(data, bytearray):
        return bytes(data)
    if isinstance(data, memoryview):
        return data.tobytes()
    raise InvalidInput("data", "bytes", type(data).__name__)
