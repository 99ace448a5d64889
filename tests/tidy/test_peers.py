"""The faults that were found in other clients (peers.md 2), each with the tests that show ours.

A line says what the other one does, and who: by number for async-kinesis, by name otherwise. The tests must exist; that
they pass is their own matter. `bench` stands for what is measured instead.
"""

from __future__ import annotations

import ast
from functools import cache
from typing import Final, NamedTuple

import pytest

from tests.sim.mutants import ALL_BUGS
from tools.rings import ROOT


class Fault(NamedTuple):
    """What a peer does, and the tests (``file::function``) or planted bugs (``bug: name``) that show that we do not."""

    peer: str
    what: str
    shown_by: tuple[str, ...]


def _fault(peer: str, what: str, *shown_by: str) -> Fault:
    return Fault(peer, what, shown_by)


FAULTS: Final = (
    _fault(
        "async-kinesis 1",
        "a slow handler makes the fetcher skip records",
        "consumer/test_polling.py::test_reading_stops_while_too_much_waits_for_the_handler",
        "consumer/test_worker.py::test_a_slow_handler_outlives_its_iterator",
    ),
    _fault(
        "async-kinesis 2",
        "a record that does not decode is delivered ten times, then the consumer is stuck without a word",
        "consumer/test_models.py::test_what_cannot_be_decoded_holds_its_shard",
        "consumer/test_models.py::test_a_batch_ends_before_what_cannot_be_decoded",
        "consumer/test_malformed.py::test_raw_is_the_default",
    ),
    _fault(
        "async-kinesis 3",
        "a child shard starts at LATEST and skips",
        "consumer/test_lineage.py::test_children_start_at_the_trim_horizon_whatever_the_start",
        "bug: child at LATEST",
    ),
    _fault(
        "async-kinesis 4",
        "a merged child starts before its other parent is done",
        "consumer/test_lineage.py::test_parents_block_until_both_are_finished_or_gone",
        "bug: adjacent parent ignored",
    ),
    _fault(
        "async-kinesis 5",
        "the first page of shards only",
        "consumer/test_peer_faults.py::test_every_shard_of_many_is_read",
        "bug: first page of ListShards only",
    ),
    _fault(
        "async-kinesis 6",
        "without a description of the stream nothing is ever read",
        "consumer/test_worker.py::test_what_cannot_start_says_why",
        "consumer/test_fleet.py::test_a_new_application_starts_whole_however_many_start_it",
    ),
    _fault(
        "async-kinesis 7",
        "an iterator that expires before the first record forgets the checkpoint",
        "consumer/test_polling.py::test_an_iterator_that_expires_before_any_record_starts_at_the_checkpoint_again",
        "bug: expired iterator resumed at LATEST",
    ),
    _fault(
        "async-kinesis 8",
        "idle shards delay a busy one",
        "consumer/test_peer_faults.py::test_idle_shards_do_not_delay_a_busy_one",
    ),
    _fault(
        "async-kinesis 9",
        "a stale worker moves the checkpoint back, and takes ownership by it",
        "consumer/test_held_lease.py::test_checkpoints_never_move_back",
        "consumer/test_lease_writes.py::test_renewal_in_steady_state",
        "sim/test_lease_model.py::test_the_rules_hold_in_every_reachable_state",
    ),
    _fault(
        "async-kinesis 10",
        "one error ends the heartbeat, and processing goes on",
        "consumer/test_held_lease.py::test_throttled_renewals_are_retried_until_the_lease_expires",
        "sim/test_oracle.py::test_a_delivery_under_a_lease_that_ran_out_is_found",
        "bug: no local expiry",
    ),
    _fault(
        "async-kinesis 11",
        "workers are told apart by process id, which is 1 in every container",
        "consumer/test_peer_faults.py::test_worker_ids_are_unique_where_host_and_process_are_not",
    ),
    _fault(
        "async-kinesis 12",
        "checkpoints expire over a weekend; expiry compares clocks of different hosts",
        "consumer/test_peer_faults.py::test_a_restart_at_latest_long_after_reads_on",
        "consumer/test_taker.py::test_a_counter_that_stands_still_ages_by_the_observers_clock",
    ),
    _fault(
        "async-kinesis 13",
        "nothing marks the end of a shard: its last batch comes again and again",
        "consumer/test_held_lease.py::test_the_shard_end_is_stored_as_its_sentinel",
        "consumer/test_health.py::test_finished_leases_are_cleaned_up_parents_first",
    ),
    _fault(
        "async-kinesis 14",
        "501 entries in a request; results are paired with the wrong records after re-batching",
        "producer/test_batcher.py::test_requests_keep_the_services_limits",
        "bug: results paired by position",
    ),
    _fault(
        "async-kinesis 15",
        "an unknown error code loses the record",
        "producer/test_outcome.py::test_codes_are_judged",
        "bug: unknown error code drops the record",
    ),
    _fault(
        "async-kinesis 16",
        "denied access is retried without delay",
        "producer/test_behaviour.py::test_denied_fails_fast_and_calls_decay",
    ),
    _fault(
        "async-kinesis 17",
        "the rate does not follow the number of shards, and a backlog burns it",
        "producer/test_limiter.py::test_rate_is_the_shards_limit",
        "producer/test_limiter.py::test_give_back_undoes_take",
    ),
    _fault(
        "async-kinesis 18",
        "concurrent puts into a full queue duplicate and lose records",
        "producer/test_put_waits.py::test_put_waits_while_the_buffer_is_full_and_the_loop_goes_on",
        "producer/test_blocking_producer.py::test_many_threads_put",
    ),
    _fault(
        "async-kinesis 19",
        "a reconnect waits for itself, then flushes twice at once",
        "producer/test_behaviour.py::test_outage_slows_calls_down",
        "producer/test_truth.py::test_outcomes_are_true",
    ),
    _fault(
        "async-kinesis 20",
        "aggregates under a constant key are dropped by a KCL; magic and digest are not checked",
        "common/test_aggregation.py::test_golden_vectors_of_the_kpl",
        "producer/test_behaviour.py::test_reshard_loses_nothing_for_a_kcl",
        "common/test_deaggregation_bad_input.py::test_checksum_mismatch_is_plain_and_counted",
    ),
    _fault(
        "async-kinesis 21",
        "a dictionary with a certain key is swallowed",
        "common/test_codec.py::test_plain_values_come_back",
    ),
    _fault(
        "KCLPy",
        "an exception of the processor is reported as success, and the batch acknowledged",
        "consumer/test_worker.py::test_a_failing_handler_is_retried_in_place",
        "consumer/test_shard_processor.py::test_failures_are_retried_behind_the_checkpoint",
        "bug: batch skipped when the handler raises",
    ),
    _fault(
        "KCLPy",
        "a shutdown message is a TypeError",
        "consumer/test_kclpy.py::test_a_version_1_processor_runs_unchanged",
    ),
    _fault(
        "KCLPy",
        "a processor without methods instantiates",
        "consumer/test_peer_faults.py::test_a_processor_without_its_method_is_refused_at_registration",
    ),
    _fault(
        "KCLPy",
        "a checkpoint from another thread corrupts the conversation",
        "consumer/test_peer_faults.py::test_checkpoints_may_come_from_any_thread",
    ),
    _fault(
        "KCLPy",
        "a child that dies or hangs ends the whole host",
        "consumer/test_process_handlers.py::test_a_process_that_dies_costs_the_record_it_had_in_hand",
        "consumer/test_process_handlers.py::test_a_process_that_hangs_is_killed_and_its_lease_comes_back",
    ),
    _fault(
        "KCLPy",
        "arrival times are naive local datetimes",
        "consumer/test_kclpy.py::test_a_version_3_processor_runs_unchanged",
    ),
    _fault(
        "aws-kinesis-agg",
        "a record near the size limit is discarded without a word",
        "lambda_/test_compat.py::test_no_size_near_the_limit_loses_a_record",
    ),
    _fault(
        "aws-kinesis-agg",
        "mixed keys go into one record, and a KCL drops what does not belong",
        "lambda_/test_compat.py::test_keys_of_different_shards_never_share_a_record",
    ),
    _fault(
        "aws-kinesis-agg",
        "sizes ignore the partition key, or count it twice",
        "lambda_/test_compat.py::test_sizes_are_exact_and_count_the_key",
    ),
    _fault(
        "aws-kinesis-agg",
        "a bad index drops the rest of the aggregate",
        "lambda_/test_compat.py::test_a_bad_index_drops_nothing",
    ),
    _fault(
        "aws-kinesis-agg",
        "records without an explicit hash key inherit a neighbour's",
        "lambda_/test_dictionaries.py::test_explicit_hash_keys_belong_only_to_who_gave_them",
    ),
    _fault(
        "aws-kinesis-agg",
        "raw bytes and base64 in one list",
        "lambda_/test_compat.py::test_both_boto3_kinds_of_record_have_text",
    ),
    _fault(
        "aws-kinesis-agg",
        "undeclared dependencies, a changed sys.path, a global descriptor pool",
        "lambda_/test_compat.py::test_importing_it_touches_nothing_else",
        "tidy/test_distribution.py::test_installed_wheel_works_without_dependencies",
    ),
    _fault(
        "aws-kinesis-agg",
        "clear() is broken; callbacks run on threads and twice",
        "lambda_/test_compat.py::test_a_record_can_be_cleared_and_used_again",
        "lambda_/test_compat.py::test_callbacks_run_once_in_order_on_this_thread",
    ),
    _fault(
        "powertools",
        "records after a failure run, and run again",
        "lambda_/test_powertools.py::test_nothing_runs_after_a_failure_where_theirs_runs_everything",
    ),
    _fault(
        "powertools",
        "the asynchronous processor runs the whole batch at once",
        "lambda_/test_powertools.py::test_async_records_run_in_order_one_at_a_time",
    ),
    _fault(
        "powertools",
        "a poison pill under a titled model fails the invocation",
        "lambda_/test_powertools.py::test_a_poison_pill_under_a_titled_model_is_one_failure",
    ),
    _fault(
        "powertools",
        "no deaggregation; the envelope drops sequence numbers",
        "lambda_/test_powertools.py::test_aggregates_are_taken_apart_with_unique_ids",
        "lambda_/test_powertools.py::test_the_envelope_parses_user_records",
    ),
    _fault(
        "kinesis-python",
        "the response of PutRecords is ignored",
        "producer/test_behaviour.py::test_throttles_are_retried_entry_by_entry",
    ),
    _fault(
        "kinesis-python",
        "the last batch of a closing shard is thrown away; a missing iterator raises",
        "consumer/test_polling.py::test_the_end_is_a_page_without_an_iterator_and_can_be_taken_back",
        "bug: SHARD_END before the last batch is done",
    ),
    _fault(
        "kinesis-python",
        "sequence numbers are compared as strings",
        "lambda_/test_handlers.py::test_numbers_of_different_length_compare_as_numbers",
    ),
    _fault(
        "kinesis-python",
        "two processes on one host own the same lease; new shards start at LATEST",
        "consumer/test_peer_faults.py::test_worker_ids_are_unique_where_host_and_process_are_not",
        "consumer/test_lineage.py::test_children_start_at_the_trim_horizon_whatever_the_start",
    ),
    _fault(
        "kiner",
        "close() flushes one batch only",
        "producer/test_behaviour.py::test_cancellation_drains_and_says_so",
        "bug: flush forgets what is in flight",
    ),
    _fault(
        "quixstreams",
        "throttled records are reported as delivered, and every flush sends everything again",
        "producer/test_behaviour.py::test_throttles_are_retried_entry_by_entry",
        "producer/test_truth.py::test_outcomes_are_true",
    ),
    _fault(
        "quixstreams",
        "a closed shard crashes the source, new shards are never found",
        "consumer/test_worker.py::test_a_fleet_loses_nothing_and_keeps_order",
    ),
    _fault(
        "aiokafka",
        "offsets are committed whether or not the handler finished",
        "bug: checkpoint at hand-over",
        "consumer/test_worker.py::test_a_handler_that_never_succeeds_holds_its_shard_and_its_lease",
    ),
    _fault(
        "zio-kinesis",
        "aggregates on the wrong shard are acknowledged as success",
        "producer/test_behaviour.py::test_reshard_loses_nothing_for_a_kcl",
        "bug: misplaced aggregate acknowledged",
    ),
    _fault(
        "harlow",
        "the tail of an aggregate is lost on restart",
        "consumer/test_worker.py::test_a_crash_redelivers_only_what_follows_the_checkpoint",
        "bug: sub-sequence number ignored",
    ),
    _fault(
        "vmware-go-kcl",
        "one new lease per sync cycle, a PrepareCheckpoint that does nothing, a single parent",
        "consumer/test_lineage.py::test_the_worked_example_of_the_kcl",
        "consumer/test_shard_processor.py::test_a_prepared_checkpoint_outlives_a_crash",
        "bug: child started before one parent",
    ),
    _fault("lifion", "the checkpoint is written before the records are handed over", "bug: checkpoint at hand-over"),
)


@cache
def _functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.peer}: {fault.what}"[:60])
def test_what_shows_that_a_fault_is_not_ours_exists(fault: Fault) -> None:
    """Every fault of a peer names tests or planted bugs that are there."""
    assert fault.shown_by
    planted = set(ALL_BUGS)
    for one in fault.shown_by:
        if one.startswith("bug: "):
            assert one.removeprefix("bug: ") in planted
        else:
            file, _, function = one.partition("::")
            assert function in _functions(file)


def test_every_numbered_fault_is_in_the_table() -> None:
    """async-kinesis' faults 1 to 21 and each other peer that has any."""
    peers = {fault.peer for fault in FAULTS}
    assert {f"async-kinesis {number}" for number in range(1, 22)} <= peers
    assert {"KCLPy", "aws-kinesis-agg", "powertools", "kinesis-python", "kiner", "quixstreams"} <= peers
