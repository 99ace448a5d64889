"""A shard consumer's life: the table, and reasons to stop that outrank each other."""

from __future__ import annotations

import pytest

from shardline.consumer.shards import TRANSITIONS, ShardEvent, ShardLife, ShardState, StopReason


def life(*events: ShardEvent) -> ShardLife:
    """Return a life after these events."""
    made = ShardLife()
    for event in events:
        made.move(event)
    return made


def test_the_usual_life() -> None:
    """Parents, initialisation, processing, end."""
    usual = life(ShardEvent.PARENTS_DONE, ShardEvent.INITIALIZED)
    assert usual.state is ShardState.PROCESSING
    usual.stop(StopReason.SHARD_END)
    assert usual.move(ShardEvent.FINISHED) is ShardState.COMPLETE
    assert repr(usual) == "ShardLife(complete, SHARD_END)"


def test_every_state_but_the_last_leads_on() -> None:
    """No state but COMPLETE is a dead end, and each is reached."""
    sources = {state for state, _ in TRANSITIONS}
    assert sources == set(ShardState) - {ShardState.COMPLETE}
    assert set(TRANSITIONS.values()) | {ShardState.WAITING_ON_PARENTS} == set(ShardState)


def test_what_has_no_entry_is_an_error() -> None:
    """A consumer cannot resume what was not paused."""
    with pytest.raises(AssertionError, match="RESUME"):
        life(ShardEvent.PARENTS_DONE, ShardEvent.INITIALIZED, ShardEvent.RESUME)


def test_a_stronger_reason_replaces_a_weaker_one() -> None:
    """A lost lease overrides a requested stop, and not the other way round."""
    stopped = life()
    stopped.stop(StopReason.REQUESTED)
    stopped.stop(StopReason.LEASE_LOST)
    stopped.stop(StopReason.SHARD_END)
    assert stopped.reason is StopReason.LEASE_LOST
    stopped.move(ShardEvent.FINISHED)
    stopped.stop(StopReason.LEASE_LOST)
    assert stopped.state is ShardState.COMPLETE


@pytest.mark.parametrize("event", [ShardEvent.PAUSE, ShardEvent.SEEK, ShardEvent.HAND_OFF])
def test_steering_happens_while_processing(event: ShardEvent) -> None:
    """Pause, seek and hand-off lead out of processing into states of their own."""
    steered = life(ShardEvent.PARENTS_DONE, ShardEvent.INITIALIZED)
    assert steered.may(event)
    assert steered.move(event) not in {ShardState.PROCESSING, ShardState.COMPLETE}
    assert steered.may(ShardEvent.STOP)
