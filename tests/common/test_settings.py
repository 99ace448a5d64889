"""Settings from text: names, types and ranges, and the files that Java would read the same way."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from math import isfinite
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.errors import InvalidInput
from shardline.common.settings import (
    Key,
    UnknownSetting,
    from_environment,
    load,
    millis_as_s,
    parse_properties,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class Mode(StrEnum):
    """An enumeration by value."""

    POLLING = "polling"
    FANOUT = "fanout"


class Level(Enum):
    """An enumeration by name."""

    LOW = 1
    HIGH = 2


@dataclass(frozen=True, kw_only=True)
class Retry:
    """A group."""

    first_s: float = 0.1
    attempts: int | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A caller's settings."""

    linger_s: float = 0.1
    entries_max: int = 500
    aggregate: bool = True
    name: str = ""
    region: str | None = None
    mode: Mode = Mode.POLLING
    level: Level = Level.LOW
    wire: Literal["auto", "json"] = "auto"
    streams: tuple[str, ...] = ()
    sizes: frozenset[int] = frozenset()
    retry: Retry = field(default_factory=Retry)
    listeners: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        if not (isfinite(self.linger_s) and 0 <= self.linger_s <= 60):
            raise InvalidInput("linger_s", "from 0 to 60")


def test_text_becomes_values_of_the_fields_types() -> None:
    """Each type is read from text; what is not given keeps its default."""
    values = {
        "linger_s": "0.5",
        "entries_max": " 7 ",
        "aggregate": "FALSE",
        "name": "a b",
        "region": "none",
        "mode": "FANOUT",
        "level": "high",
        "wire": "JSON",
        "streams": "a, b,,c",
        "sizes": "1,2",
        "retry.first_s": "2",
    }
    expected = Settings(
        linger_s=0.5,
        entries_max=7,
        aggregate=False,
        name="a b",
        mode=Mode.FANOUT,
        level=Level.HIGH,
        wire="json",
        streams=("a", "b", "c"),
        sizes=frozenset({1, 2}),
        retry=Retry(first_s=2),
    )
    assert load(Settings, values).settings == expected


def test_unknown_keys_are_refused_with_the_nearest_known() -> None:
    """A misspelt key names itself and what may have been meant; an odd one names all."""
    with pytest.raises(UnknownSetting, match=r"producer.properties: linger must be .*did you mean linger_s") as refused:
        load(Settings, {"linger": "1"}, source="producer.properties")
    assert refused.value.key == "linger"
    with pytest.raises(UnknownSetting, match=r"known are aggregate, entries_max, .*retry\.attempts"):
        load(Settings, {"zzzzzz": "1"})


@pytest.mark.parametrize(
    ("key", "text", "allowed"),
    [
        ("linger_s", "fast", "a finite number"),
        ("linger_s", "nan", "a finite number"),
        ("linger_s", "1e999", "a finite number"),
        ("linger_s", "61", "from 0 to 60"),
        ("entries_max", "5.0", "a whole number"),
        ("entries_max", "1_000", "a whole number"),
        ("entries_max", "٣", "a whole number"),
        ("aggregate", "maybe", "true or false"),
        ("mode", "push", "one of POLLING, FANOUT"),
        ("wire", "xml", "one of auto, json"),
        ("retry.attempts", "some", "a whole number"),
    ],
)
def test_values_that_do_not_fit_name_key_and_range_but_not_the_value(key: str, text: str, allowed: str) -> None:
    """The error speaks of the user's key and the allowed range; the value may be a secret."""
    with pytest.raises(InvalidInput) as refused:
        load(Settings, {key: text}, source="here")
    assert str(refused.value) == f"here: {key} must be {allowed}"


KEYS = {
    "RecordMaxBufferedTime": Key("linger_s", millis_as_s),
    "CollectionMaxCount": Key("entries_max"),
    "MaxCount": Key("entries_max"),
    "RetryDelay": Key("retry.first_s", millis_as_s),
    "EnableCoreDumps": Key(None, note="There is no daemon."),
}


def test_a_table_translates_the_originals_names_and_units() -> None:
    """Keys of another vocabulary are mapped and converted; known ones without meaning are named."""
    values = {"RecordMaxBufferedTime": "250", "EnableCoreDumps": "true", "RetryDelay": "1500"}
    loaded = load(Settings, values, KEYS, given={"name": "orders"})
    assert loaded.settings == Settings(linger_s=0.25, name="orders", retry=Retry(first_s=1.5))
    assert loaded.ignored == ("EnableCoreDumps",)


def test_errors_speak_the_tables_language() -> None:
    """A range that the dataclass checks is said of the user's key, and two keys of one meaning are refused."""
    with pytest.raises(InvalidInput, match="RecordMaxBufferedTime must be from 0 to 60"):
        load(Settings, {"RecordMaxBufferedTime": "61000"}, KEYS)
    with pytest.raises(InvalidInput, match="RecordMaxBufferedTime must be a whole number"):
        load(Settings, {"RecordMaxBufferedTime": "1.5"}, KEYS)
    with pytest.raises(InvalidInput, match="given once"):
        load(Settings, {"CollectionMaxCount": "1", "MaxCount": "2"}, KEYS)


def test_the_environment_by_prefix() -> None:
    """Only our prefix counts; groups are parted by two underscores."""
    environ = {"SHARDLINE_LINGER_S": "1", "SHARDLINE_RETRY__FIRST_S": "2", "PATH": "/bin", "SHARDLINE_": "x"}
    values = from_environment(environ)
    assert values == {"linger_s": "1", "retry.first_s": "2"}
    assert load(Settings, values).settings == Settings(linger_s=1, retry=Retry(first_s=2))


def test_properties_as_java_reads_them() -> None:
    """Comments, separators, continuations and escapes."""
    text = (
        "\ufeff# comment\n! another\n\n"
        "applicationName = PythonKCLSample\n"
        "streamName: words\r\n"
        "  initialPositionInStream TRIM_HORIZON\r"
        "list = a, \\\n       b\n"
        "escaped\\ key\\=x = tab\\there \\u0041\\\\\n"
        "empty =\n"
        "alone\n"
        "url = http://localhost:4567/?a=b\n"
        "twice = 1\ntwice = 2\n"
        "last = continued\\"
    )
    assert parse_properties(text) == {
        "applicationName": "PythonKCLSample",
        "streamName": "words",
        "initialPositionInStream": "TRIM_HORIZON",
        "list": "a, b",
        "escaped key=x": "tab\there A\\",
        "empty": "",
        "alone": "",
        "url": "http://localhost:4567/?a=b",
        "twice": "2",
        "last": "continued",
    }


def test_a_malformed_escape_is_refused() -> None:
    """Java refuses it too."""
    with pytest.raises(InvalidInput, match="hexadecimal"):
        parse_properties("a = \\u12")


def java_escaped(text: str) -> str:
    """Return text as java.util.Properties stores it."""
    special = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}
    return "".join(special.get(c) or (f"\\{c}" if c in " =:#!\\" else c) for c in text)


TEXTS = st.text(st.characters(max_codepoint=0x2FF, exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.dictionaries(TEXTS.filter(lambda t: "\x85" not in t), TEXTS, max_size=5))
def test_what_java_stores_is_read_back(properties: dict[str, str]) -> None:
    """Keys and values of any characters survive the way through a file."""
    text = "\n".join(f"{java_escaped(key)}={java_escaped(value)}" for key, value in properties.items())
    assert parse_properties(text) == properties


@given(st.text(max_size=60))
def test_any_text_is_a_file_or_refused(text: str) -> None:
    """No text breaks the parser but a malformed escape."""
    try:
        found = parse_properties(text)
    except InvalidInput:
        assert "\\u" in text
    else:
        assert all(isinstance(value, str) for value in found.values())
