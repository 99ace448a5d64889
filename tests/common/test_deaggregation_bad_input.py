"""The decoder's table of bad input (`reliability.md` 4.1), row by row."""

from __future__ import annotations

import pytest

from shardline.common.deaggregation import Validation, deaggregate, inspect
from shardline.common.hashing import hash_key

from tests.common.aggregates import MAGIC, Row, blob, field, key, oracle_encode, record, varint
from tests.common.aggregates import hash_key as hash_entry
from tests.common.hostile import HOSTILE

GOOD = oracle_encode([Row("a", b"1"), Row("b", b"2"), Row("a", b"3")])
ABC = key("a") + key("b")


def assert_plain(data: bytes, *, checksum: bool) -> None:
    """Check that a blob is delivered unchanged, counted or not."""
    found = deaggregate(data, "k")
    assert [each.data for each in found] == [data]
    assert (found.aggregated, found.reason) == (False, None)
    assert found.notes() == ({"checksum": 1} if checksum else {})


def assert_malformed(message: bytes, reason: str) -> None:
    """Check that a message with a right checksum is delivered whole, and reported with that reason."""
    data = blob(message)
    found = deaggregate(data, "k")
    assert [each.data for each in found] == [data]
    assert (found.aggregated, found.reason) == (False, reason)


def assert_records(message: bytes, *expected: tuple[str, bytes]) -> None:
    """Check that a message is accepted with exactly these keys and data."""
    found = deaggregate(blob(message), "k", malformed="raise")
    assert [(each.partition_key, each.data) for each in found] == list(expected)


@pytest.mark.parametrize("data", [b"", b"\xf3", MAGIC[:3], MAGIC, MAGIC + bytes(15), MAGIC + bytes(16), blob(b"")])
def test_too_short_for_an_aggregate_is_plain(data: bytes) -> None:
    """Empty, fewer than four bytes, the magic alone, magic and 16 bytes: plain, and nothing to count."""
    assert_plain(data, checksum=False)


@pytest.mark.parametrize("bit", range(32))
def test_wrong_magic_is_plain(bit: int) -> None:
    """One bit off in the magic makes it the user's own data."""
    flipped = (int.from_bytes(GOOD[:4], "big") ^ 1 << bit).to_bytes(4, "big")
    assert_plain(flipped + GOOD[4:], checksum=False)


def test_checksum_mismatch_is_plain_and_counted() -> None:
    """Any flipped bit after the magic: plain, counted `checksum`."""
    for at in range(4, len(GOOD)):
        assert_plain(GOOD[:at] + bytes((GOOD[at] ^ 1,)) + GOOD[at + 1 :], checksum=True)


def test_truncated_is_plain_and_counted() -> None:
    """Cut anywhere behind the frame's 20 bytes: plain, counted `checksum`."""
    for length in range(21, len(GOOD)):
        assert_plain(GOOD[:length], checksum=True)


def test_trailing_bytes_are_plain_and_counted() -> None:
    """One byte too many moves the checksum."""
    assert_plain(GOOD + b"\0", checksum=True)


def test_user_data_that_starts_with_the_magic_are_plain() -> None:
    """Data of the user's that begin like an aggregate stay the user's."""
    assert_plain(MAGIC + b"the user's own text, long enough", checksum=True)


def test_zero_records_are_malformed() -> None:
    """A right checksum and no record: reported, where others lose it silently."""
    assert_malformed(ABC, "empty")
    assert_malformed(field(9, b"unknown"), "empty")


def test_key_index_out_of_range_first_record() -> None:
    """The first record points outside the table."""
    assert_malformed(key("a") + record(1), "index")
    assert_malformed(record(0), "index")


def test_key_index_out_of_range_second_of_three() -> None:
    """No record leaves before the last is validated: not one of three."""
    assert_malformed(key("a") + record(0) + record(1) + record(0), "index")


@pytest.mark.parametrize("index", [2**32, 2**63, 2**32 - 1, 2**31])
def test_key_index_beyond_32_bits(index: int) -> None:
    """2^32 and 2^63 are no index 0, whatever a 32-bit cast makes of them."""
    assert_malformed(key("a") + record(index), "index")


def test_key_index_of_64_bits() -> None:
    """2^64 - 1 is an index out of range."""
    assert_malformed(key("a") + record(2**64 - 1), "index")


@pytest.mark.parametrize("index", [1, 127, 128, 2**32 - 1, 2**32, 2**64 - 1])
def test_explicit_hash_key_index_out_of_range(index: int) -> None:
    """An explicit hash key index outside its table is not ignored."""
    assert_malformed(key("a") + hash_entry("0") + record(0, hash_index=index), "index")
    assert_malformed(key("a") + record(0, hash_index=index), "index")


@pytest.mark.parametrize("text", ["", "x", "1e3", "0x1", " 1", "+1", "1.0", "٣", b"\xff", "1" * 40, "0" * 40])
def test_hash_key_that_is_no_number(text: str | bytes) -> None:
    """Not a number, empty, or longer than 39 digits."""
    assert_malformed(key("a") + hash_entry(text) + record(0, hash_index=0), "hash-key")


@pytest.mark.parametrize("text", ["-1", str(2**128), "9" * 39])
def test_hash_key_out_of_range(text: str) -> None:
    """-1 and 2^128 are outside; 2^128 - 1 is the last inside."""
    assert_malformed(key("a") + hash_entry(text) + record(0, hash_index=0), "hash-key")
    assert inspect(blob(key("a") + hash_entry(str(2**128 - 1)) + record(0, hash_index=0))).kind == "aggregate"


def test_one_record_outside_the_shards_range() -> None:
    """All delivered, the one counted `misplaced`."""
    at = hash_key("a")
    found = deaggregate(GOOD, "k", hash_range=(at, at))
    assert [(each.data, each.misplaced) for each in found] == [(b"1", False), (b"2", True), (b"3", False)]
    assert found.notes() == {"misplaced": 1}


def test_required_field_missing() -> None:
    """A record without index or data, or a tag without a key."""
    assert_malformed(key("a") + record(None), "required")
    assert_malformed(key("a") + record(0, None), "required")
    assert_malformed(key("a") + field(3, b""), "required")
    assert_malformed(key("a") + record(0, extra=field(4, field(2, b"value only"))), "required")


@pytest.mark.parametrize("text", [b"\xff", b"ok\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"x" * 200 + b"\x80"])
def test_invalid_utf8_in_a_key(text: bytes) -> None:
    """Bad bytes, cut characters, surrogates and overlong forms in a key, used or not, or in a tag."""
    assert_malformed(key(text) + record(0), "utf8")
    assert_malformed(key("a") + record(0) + key(text), "utf8")
    assert_malformed(key("a") + record(0, extra=field(4, field(1, text))), "utf8")
    assert_malformed(key("a") + record(0, extra=field(4, field(1, b"k") + field(2, text))), "utf8")


def test_empty_and_long_keys_are_delivered_and_counted() -> None:
    """Keys of 0 or 300 characters: delivered as they are, counted `key-length`; 256 characters are ordinary."""
    found = deaggregate(blob(key("") + key("x" * 300) + key("日" * 256) + record(0) + record(1) + record(2)), "k")
    assert [each.partition_key for each in found] == ["", "x" * 300, "日" * 256]
    assert found.notes() == {"key-length": 2}


@pytest.mark.parametrize(
    "tail",
    [
        field(1, b"") + b"\x08" + b"\x80" * 10 + b"\x01",  # A varint of eleven bytes,
        b"\x1a" + b"\xff" * 11,  # also as a length,
        b"\x80" * 11 + b"\x01",  # also as a tag.
        b"\x1a\x05",  # A length past the end, in each place that has one:
        b"\x0a\x05abc",
        b"\x12\x7f",
        b"\x4a\x05",
        b"\x1a" + varint(2**31 - 1),
        b"\x1a" + varint(2**64 - 1),
        b"\x02\x00",  # Field number 0.
        b"\x07",  # Wire types 6 and 7.
        b"\x4f",
        b"\x4e",
        b"\x1a",  # A tag and nothing behind it.
        b"\x48",
        b"\x80",
        b"\x49" + bytes(7),  # Fixed numbers cut short.
        b"\x4d" + bytes(3),
        field(3, b"\x08"),  # The same within a record: a tag alone,
        field(3, b"\x08\x00\x1a\x02x"),  # data past the record's end,
        field(3, b"\x08\x00\x1a\x01x\x4a"),
        field(3, b"\x08\x80"),
        field(3, b"\x08\x00\x1a\x00\x22\x01\x0a"),  # and within a tag.
    ],
)
def test_broken_wire_format(tail: bytes) -> None:
    """Protobuf that is none: malformed, since a right checksum says that it was meant as an aggregate."""
    assert_malformed(ABC + record(0) + tail, "wire")


def test_unknown_fields_and_groups_are_skipped() -> None:
    """Fields of later versions and groups, in every place, change nothing."""
    group = b"\x4b" + field(1, b"in a group") + b"\x53\x54" + b"\x4c"  # Group 9 holding field 1 and group 10.
    unknown = field(9, 7) + field(200, b"later") + b"\x49" + bytes(8) + b"\x4d" + bytes(4) + group
    tag = field(4, unknown + field(1, b"h") + unknown)
    message = unknown + ABC + unknown + record(1, extra=unknown + tag) + unknown
    assert_records(message, ("b", b"x"))
    assert [dict(each.headers) for each in deaggregate(blob(message), "k")] == [{"h": ""}]


def test_thousand_nested_groups() -> None:
    """Deeply nested or unfinished groups are malformed, by a loop: the decoder has no recursion to exhaust."""
    assert_malformed(ABC + record() + b"\x4b" * 1000 + b"\x4c" * 1000, "wire")
    assert_malformed(ABC + record(extra=b"\x4b" * 1000 + b"\x4c" * 1000), "wire")
    assert_records(ABC + record() + b"\x4b" * 100 + b"\x4c" * 100, ("a", b"x"))
    assert_malformed(ABC + record() + b"\x4b" * 101 + b"\x4c" * 101, "wire")


@pytest.mark.parametrize("group", [b"\x4b", b"\x4b\x54", b"\x4c", b"\x4b\x53\x4c\x54", b"\x4b\x02\x00\x4c"])
def test_unterminated_group(group: bytes) -> None:
    """A group without its own end, or an end without its group; a group may not leave its record either."""
    assert_malformed(ABC + record() + group, "wire")
    assert_malformed(ABC + record(extra=group) + b"\x4c", "wire")


def test_keys_after_records() -> None:
    """Tables may follow the records that point into them."""
    assert_records(record(1) + key("a") + record(0) + key("b"), ("b", b"x"), ("a", b"x"))


def test_of_a_field_given_twice_the_last_counts() -> None:
    """Index, data, hash index and a tag's parts given twice: the last one wins, as in every runtime."""
    message = ABC + hash_entry("1") + hash_entry("2")
    twice = field(3, field(1, 0) + field(2, 0) + field(3, b"no") + field(3, b"yes") + field(2, 1) + field(1, 1))
    (made,) = deaggregate(blob(message + twice), "k")
    assert (made.partition_key, made.data, made.explicit_hash_key) == ("b", b"yes", "2")
    tag = field(4, field(2, b"no") + field(1, b"no\xff") + field(1, b"h") + field(2, b"v"))
    (made,) = deaggregate(blob(ABC + record(extra=tag)), "k")
    assert dict(made.headers) == {"h": "v"}


def test_varints_need_not_be_in_their_shortest_form() -> None:
    """Padded varints as tag, length and index read as the same numbers."""
    inner = varint(0x08, 3) + varint(1, 10) + varint(0x1A, 5) + varint(1, 4) + b"x"
    assert_records(ABC + varint(0x1A, 2) + varint(len(inner), 5) + inner, ("b", b"x"))
    assert_records(ABC + b"\x1a" + varint(6, 2) + b"\x08\x00\x1a" + varint(1, 2) + b"x", ("a", b"x"))
    assert_records(varint(0x0A, 2) + b"\x01a" + b"\x0a" + varint(1, 2) + b"b" + record(1), ("b", b"x"))


@pytest.mark.parametrize(
    "bad",
    [
        field(3, field(1, b"\0") + field(3, b"x")),  # Key index as bytes,
        field(3, field(1, 0) + field(3, 5)),  # data as a number,
        field(3, field(1, 0) + field(3, b"x") + field(2, b"\0")),
        field(3, field(1, 0) + field(3, b"x") + field(4, 0)),
        record(extra=field(4, field(1, 7))),  # a tag's key as a number,
        record(extra=field(4, field(1, b"k") + field(2, 7))),
        field(1, 0),  # tables and records as numbers.
        field(2, 0),
        field(3, 0),
        record(extra=b"\x0b\x0c"),  # Or as a group.
        b"\x1b\x1c",
    ],
)
def test_known_field_with_the_wrong_wire_type(bad: bytes) -> None:
    """A field we know in another wire type is malformed, never index 0."""
    assert_malformed(ABC + bad, "wire")


def test_tags_are_kept_as_headers() -> None:
    """Tags come back as headers; records without have none; a missing value is empty."""
    tags = field(4, field(1, b"content-type") + field(2, b"text/plain")) + field(4, field(1, b"empty"))
    found = list(deaggregate(blob(ABC + record() + record(1, extra=tags) + record()), "k"))
    expected = [{}, {"content-type": "text/plain", "empty": ""}, {}]
    assert [dict(each.headers) for each in found] == expected


def test_tags_are_bounded() -> None:
    """1,024 tags on a record are kept, one more or a text above 1 MiB is malformed `too-many`."""
    tag = field(4, field(1, b"k"))
    assert inspect(blob(ABC + record(extra=tag * 1024))).tags == 1024
    assert_malformed(ABC + record(extra=tag * 1025), "too-many")
    assert_malformed(ABC + record(extra=field(4, field(1, b"x" * (2**20 + 1)))), "too-many")
    assert_malformed(ABC + key("x" * (2**20 + 1)) + record(), "too-many")


def test_aggregate_inside_an_aggregate_is_data() -> None:
    """The inner one is delivered packed: decoding never recurses."""
    assert_records(ABC + record(0, GOOD), ("a", GOOD))


def test_hundred_thousand_minimal_records() -> None:
    """Many records are all delivered; above `max_sub_records` the blob is malformed `too-many`, at once."""
    many = blob(key("a") + record(0, b"") * 100_000)
    assert len(list(deaggregate(many, "k"))) == 100_000
    assert deaggregate(many, "k", max_sub_records=100_000).reason is None
    for unusual in (b"", field(9, 1)):
        data = blob(key("a") + record(0, b"", extra=unusual) * 5001 + b"\xff")
        check = Validation(data, max_sub_records=5000).run()
        assert (check.reason, len(check.columns)) == ("too-many", 0)


class Counted(Validation):
    """A validation that notes how much of its budget each step used."""

    __slots__ = ("overdrawn", "records_per_step")

    def count_steps(self) -> Counted:
        """Run, noting the records and the overdrawn budget of each step."""
        self.overdrawn = [0]
        self.records_per_step = [0]
        done = False
        while not done:
            before = len(self.columns)
            done = self.step()
            self.overdrawn.append(-self._room)
            self.records_per_step.append(len(self.columns) - before)
        return self


@pytest.mark.parametrize("name", HOSTILE)
def test_work_comes_in_bounded_steps(name: str) -> None:
    """No step reads more records, fields or text than its budget, so a driver can yield in between."""
    data = HOSTILE[name].build(2**19)
    check = Counted(data, fields_per_step=100).count_steps()
    assert check.kind == "aggregate"
    assert max(check.records_per_step) <= 100
    assert max(check.overdrawn) <= 4 + 1001 // 256  # One more field after the budget is spent, and its text.
    assert check.steps >= 2**19 / 1100 / 100


def test_the_digest_comes_in_steps_too() -> None:
    """Ten MiB are hashed in pieces of half a MiB."""
    check = Validation(blob(key("a") + record(0, bytes(10 * 2**20))))
    for _ in range(20):
        assert check.step() is False
    assert check.run().kind == "aggregate"
    assert check.steps <= 23
    assert check.step() is True


def test_abandoned_validation() -> None:
    """A validation is under way until it is done, says so, and can be dropped."""
    check = Validation(HOSTILE["records"].build(10_000), fields_per_step=10)
    assert check.step() is False
    assert (check.kind, "under way" in repr(check)) == (None, True)
