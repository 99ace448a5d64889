"""The accumulator: what a sample counts under, what is left out, and that nothing counts twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.errors import InvalidInput
from shardline.common.metrics.accumulator import Accumulator, AccumulatorSettings, CustomDimension
from shardline.common.metrics.measure import Granularity, Level, Measurement, Metric, Unit, snake
from shardline.common.metrics.names import Kcl, Kpl, create_lease_by_position, metrics_of

if TYPE_CHECKING:
    from shardline.common.ports.metrics import Datum

STREAM, SHARD = ("StreamName", "S"), ("ShardId", "shardId-000000000003")
PUT = Measurement.of(Kpl.USER_RECORDS_PUT, 1, (STREAM, SHARD), samples=426)


def kept(
    settings: AccumulatorSettings, *measurements: Measurement
) -> dict[tuple[str, tuple[tuple[str, str], ...]], Datum]:
    """Return what an accumulator holds after `measurements`, by name and dimensions."""
    accumulator = Accumulator(settings)
    accumulator.add(measurements)
    return {(one.name, one.dimensions): one for one in accumulator.take(7.0)}


def test_a_shard_level_sample_rolls_up_as_the_kpl_does() -> None:
    """kpl.md 7.4: with a custom dimension of granularity stream, one sample feeds exactly these four."""
    settings = AccumulatorSettings(custom_dimensions=(CustomDimension("HostName", "h", Granularity.STREAM),))
    host = ("HostName", "h")
    paths = {dimensions for _, dimensions in kept(settings, PUT)}
    assert paths == {(), (STREAM,), (STREAM, host), (STREAM, host, SHARD)}


def test_errors_by_code_stand_under_their_code_first() -> None:
    """ErrorCode comes before the stream, after global custom dimensions, and the root counts too."""
    settings = AccumulatorSettings(custom_dimensions=(CustomDimension("Stage", "prod"),))
    code = ("ErrorCode", "Throttled")
    stage = ("Stage", "prod")
    error = Measurement.of(Kpl.ERRORS_BY_CODE, 1, (code, STREAM, SHARD))
    paths = {dimensions for _, dimensions in kept(settings, error)}
    assert paths == {(), (stage,), (stage, code), (stage, code, STREAM), (stage, code, STREAM, SHARD)}


@pytest.mark.parametrize(("granularity", "deepest"), [(0, ()), (1, (STREAM,)), (2, (STREAM, SHARD))])
def test_granularity_cuts_what_lies_deeper(granularity: int, deepest: tuple[tuple[str, str], ...]) -> None:
    """Nothing below the configured depth is kept, and the totals above it are whole."""
    found = kept(AccumulatorSettings(granularity=Granularity(granularity)), PUT)
    assert max((dimensions for _, dimensions in found), key=len) == deepest
    assert found["UserRecordsPut", ()].sum == 426


def test_flat_keeps_enabled_dimensions_only() -> None:
    """The KCL's way: a sample counts once, under what is enabled; empty values drop out."""
    operation, worker = ("Operation", "ProcessTask"), ("WorkerIdentifier", "")
    measurement = Measurement.of(Kcl.RECORDS_PROCESSED, 5, (operation, worker, SHARD))
    assert set(kept(AccumulatorSettings(rollup=False), measurement)) == {("RecordsProcessed", (operation, SHARD))}
    enabled = AccumulatorSettings(rollup=False, enabled_dimensions=frozenset({"Operation"}))
    found = kept(enabled, measurement, measurement._replace(dimensions=(operation, ("ShardId", "other"))))
    assert {key: datum.sum for key, datum in found.items()} == {("RecordsProcessed", (operation,)): 10}


def test_levels_let_through_what_is_not_above_them() -> None:
    """None keeps nothing, summary no details, detailed all."""
    detailed = Measurement.of(Kpl.USER_RECORDS_RECEIVED, 1)
    names = [{name for name, _ in kept(AccumulatorSettings(level=level), PUT, detailed)} for level in Level]
    assert names == [set(), {"UserRecordsPut"}, {"UserRecordsPut", "UserRecordsReceived"}]


SAMPLES = st.lists(st.tuples(st.sampled_from("abc"), st.floats(-1e6, 1e6)), max_size=30)


@given(st.lists(SAMPLES, max_size=5))
def test_each_sample_is_in_exactly_one_interval(intervals: list[list[tuple[str, float]]]) -> None:
    """Over all intervals the sets hold every sample once: count, sum, smallest, largest."""
    accumulator = Accumulator(AccumulatorSettings(rollup=False))
    metric = Metric("m", Unit.BYTES)
    for samples in intervals:
        accumulator.add(Measurement.of(metric, value, (("StreamName", name),)) for name, value in samples)
        data = {dict(one.dimensions)["StreamName"]: one for one in accumulator.take(1.0)}
        for name in "abc":
            values = [value for one, value in samples if one == name]
            if not values:
                assert name not in data
                continue
            one = data[name]
            assert (one.sample_count, one.minimum, one.maximum) == (len(values), min(values), max(values))
            assert one.sum == pytest.approx(sum(values))
    assert accumulator.take(2.0) == []


def test_series_are_bounded_and_what_finds_no_room_is_counted() -> None:
    """Beyond `series_max` further series are dropped and counted; known ones go on."""
    accumulator = Accumulator(AccumulatorSettings(rollup=False, series_max=2))
    metric = Metric("m")
    accumulator.add(Measurement.of(metric, 1, (("StreamName", str(n)),)) for n in (1, 2, 3, 1))
    assert accumulator.dropped == 1
    assert [one.sum for one in accumulator.take(1.0)] == [2, 1]


@pytest.mark.parametrize(
    "make",
    [
        lambda: AccumulatorSettings(series_max=0),
        lambda: AccumulatorSettings(custom_dimensions=(CustomDimension("StreamName", "x"),)),
        lambda: AccumulatorSettings(custom_dimensions=(CustomDimension("a", "x"), CustomDimension("a", "y"))),
        lambda: CustomDimension("", "x"),
        lambda: CustomDimension("a", "x" * 1025),
        lambda: CustomDimension("a", "\n"),
        lambda: Metric(""),
        lambda: Level.parse("all"),
        lambda: Granularity.parse("worker"),
    ],
)
def test_settings_out_of_range_are_refused(make: object) -> None:
    """Names, values and limits out of range are `InvalidInput`."""
    assert callable(make)
    with pytest.raises(InvalidInput):
        make()


def test_levels_and_granularities_are_read_in_any_case() -> None:
    """Property files write them in lower, Java in upper case."""
    assert (Level.parse("Summary"), Granularity.parse("SHARD")) == (Level.SUMMARY, Granularity.SHARD)


def test_the_tables_hold_the_originals_names() -> None:
    """Names, units and levels are those of kpl.md 7.1 and kcl.md 9 (spot checks, and no name twice with one level)."""
    assert (Kpl.BUFFERING_TIME.unit, Kpl.BUFFERING_TIME.level) == (Unit.MILLISECONDS, Level.SUMMARY)
    assert Kpl.KINESIS_RECORDS_PER_REQUEST.name == "KinesisRecordsPerPutRecordsRequest"
    assert (
        Metric("RenewLease.Time", Unit.MILLISECONDS, Level.DETAILED, Kcl.RENEW_LEASE_TIME.kind) == Kcl.RENEW_LEASE_TIME
    )
    assert (Kcl.SUCCESS.name, Kcl.TIME.name) == ("Success", "Time")
    assert create_lease_by_position("LATEST").name == "CreateLease_LATEST.Success"
    for table, count in ((Kpl, 18), (Kcl, 60)):
        found = list(metrics_of(table).values())
        assert len(set(found)) == len(found)
        assert len(found) >= count


def test_snake_case() -> None:
    """Words part where case changes, at dots and at colons."""
    names = (
        "UserRecordsPut",
        "RecordProcessor.processRecords.Time",
        "GetLease:Error",
        "CurrentState:3xWorker",
        "TTLNow",
    )
    expected = ["user_records_put", "record_processor_process_records_time", "get_lease_error"]
    assert [snake(name) for name in names] == [*expected, "current_state_3x_worker", "ttl_now"]
