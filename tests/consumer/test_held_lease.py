"""One held lease: what it sends, what it credits, and when it knows that it has lost."""

from __future__ import annotations

import pytest

from shardline.common.ports.lease_store import Delete, Exists, Key, Update, UpdateItem
from shardline.common.records import SHARD_END, TRIM_HORIZON
from shardline.consumer.leases.held import HeldLease, HeldState, Loss, OpKind
from shardline.consumer.leases.row import Pending

from tests.consumer.rows import TABLE, TIMES, WRITES, Book, at

KEY = Key("leaseKey", "shardId-000000000000")


def held() -> tuple[Book, HeldLease]:
    """Return a table with one lease, taken at time 0."""
    book = Book()
    book.create()
    return book, book.taken("me")


def test_a_taken_lease_counts_from_the_sending_of_the_take() -> None:
    """Validity begins when the take was sent, and the token is the counter it wrote."""
    book, lease = held()
    assert (lease.token, lease.valid_since, lease.acquired_at) == (1, 0.0, 0.0)
    assert lease.is_valid(9.4)
    assert not lease.is_valid(9.5)
    assert book.row().owner == "me"


def test_an_adopted_lease_is_not_valid_before_its_first_renewal() -> None:
    """A lease that the table already gives to us is acquired by renewing it."""
    book = Book()
    book.create()
    book.write(WRITES.assign(book.row(), "me"))
    lease = book.holder("me", WRITES.renew(book.row()))
    assert not lease.is_valid(0.0)
    book.step(lease)
    assert (lease.state, lease.token) == (HeldState.HELD, 2)


def test_renewals_come_each_third_of_the_fail_over_time() -> None:
    """Nothing is sent before a renewal is due; then exactly one."""
    book, lease = held()
    due = TIMES.renew_s
    assert lease.next_wakeup() == due
    assert lease.next_op(due - 0.001) is None
    book.now = due
    book.step(lease)
    assert (lease.row.counter, lease.valid_since, lease.next_wakeup()) == (2, due, 2 * due)


def test_a_checkpoint_rides_on_the_next_renewal() -> None:
    """A checkpoint that is not urgent costs no write of its own."""
    book, lease = held()
    lease.want_checkpoint(at(5, 2), urgent=False)
    assert lease.next_op(1.0) is None
    book.now = TIMES.renew_s
    book.step(lease)
    assert (book.row().checkpoint, book.row().counter, lease.stored) == (at(5, 2), 2, at(5, 2))


def test_an_urgent_checkpoint_goes_at_once_and_renews() -> None:
    """A checkpoint counts as a heartbeat."""
    book, lease = held()
    book.now = 1.0
    lease.want_checkpoint(at(5), urgent=True)
    assert lease.next_wakeup() == 0.0
    book.step(lease)
    assert (book.row().checkpoint, lease.valid_since) == (at(5), 1.0)
    assert lease.next_op(1.0) is None


def test_checkpoints_never_move_back() -> None:
    """A position below the stored or the wanted one is ignored."""
    book, lease = held()
    lease.want_checkpoint(at(9), urgent=True)
    lease.want_checkpoint(at(5), urgent=True)
    book.step(lease)
    lease.want_checkpoint(at(7), urgent=True)
    assert book.row().checkpoint == at(9)
    assert lease.next_op(0.0) is None


def test_a_newer_checkpoint_wanted_during_a_write_is_written_next() -> None:
    """What was asked for while a write was in flight is not forgotten."""
    book, lease = held()
    lease.want_checkpoint(at(5), urgent=True)
    op = lease.next_op(0.0)
    assert op is not None
    assert op.write is not None
    lease.want_checkpoint(at(8), urgent=True)
    lease.on_result(op, book.write(op.write), 0.0)
    book.step(lease)
    assert book.row().checkpoint == at(8)


def test_one_call_at_a_time() -> None:
    """While a call is in flight nothing else is sent: both would consume the counter."""
    _, lease = held()
    lease.want_checkpoint(at(5), urgent=True)
    assert lease.next_op(0.0) is not None
    assert lease.next_op(0.0) is None
    assert lease.next_wakeup() is None


def test_a_lost_reply_is_resolved_as_applied_and_credited_from_its_sending() -> None:
    """After an unknown outcome a read decides: me and one higher means applied, from when it was sent."""
    book, lease = held()
    book.now = 3.4
    op = lease.next_op(3.4)
    assert op is not None
    assert op.write is not None
    book.write(op.write)
    lease.on_failed(op, 6.4, ambiguous=True)
    book.now = 6.4
    read = lease.next_op(6.4)
    assert read is not None
    assert read.kind is OpKind.READ
    lease.on_read(book.item(), 6.5)
    assert (lease.row.counter, lease.valid_since) == (2, 3.4)


def test_a_lost_request_is_sent_again_and_a_late_one_credited_from_the_first() -> None:
    """Not yet applied: send again; if then the first try turns out to have landed, the first sending counts."""
    book, lease = held()
    first = lease.next_op(3.4)
    assert first is not None
    assert first.write is not None
    lease.on_failed(first, 5.0, ambiguous=True)
    read = lease.next_op(5.0)
    assert read is not None
    lease.on_read(book.item(), 5.1)
    second = lease.next_op(5.2)
    assert second is not None
    assert second.write is not None
    book.write(first.write)  # The first try lands late.
    lease.on_result(second, book.write(second.write), 5.3)
    assert (lease.state, lease.row.counter, lease.valid_since) == (HeldState.HELD, 2, 3.4)


def test_a_failed_condition_on_our_own_success_is_no_loss() -> None:
    """A try repeated below us (F4) fails its condition on the row that it wrote itself."""
    book, lease = held()
    op = lease.next_op(3.4)
    assert op is not None
    assert op.write is not None
    book.write(op.write)
    lease.on_result(op, book.write(op.write), 3.5)
    assert (lease.state, lease.row.counter, lease.valid_since) == (HeldState.HELD, 2, 3.4)


def test_a_checkpoint_whose_renewal_landed_instead_is_written_after_all() -> None:
    """One higher and me, but another checkpoint: the row is adopted and the checkpoint sent again."""
    book, lease = held()
    renewal = lease.next_op(3.4)
    assert renewal is not None
    assert renewal.write is not None
    lease.on_failed(renewal, 4.0, ambiguous=True)
    assert lease.next_op(4.0) is not None
    lease.on_read(book.item(), 4.1)
    lease.want_checkpoint(at(5), urgent=True)
    op = lease.next_op(4.2)
    assert op is not None
    assert op.kind is OpKind.CHECKPOINT
    assert op.write is not None
    book.write(renewal.write)
    lease.on_result(op, book.write(op.write), 4.3)
    assert lease.stored == TRIM_HORIZON
    book.now = 4.4
    book.step(lease)
    assert (book.row().checkpoint, lease.row.counter) == (at(5), 3)


def test_another_owner_means_lost() -> None:
    """A take by somebody else ends the holding at the next write."""
    book, lease = held()
    book.write(WRITES.take(book.row(), "you"))
    book.now = 3.4
    book.step(lease)
    assert (lease.state, lease.loss) == (HeldState.LOST, Loss.TAKEN)
    assert lease.next_op(4.0) is None
    assert lease.next_wakeup() is None


def test_a_deleted_and_a_garbled_row_mean_lost() -> None:
    """A row that is gone, or cannot be understood, is never written again."""
    book, lease = held()
    book.write(Delete(TABLE, KEY))
    book.now = 3.4
    book.step(lease)
    assert lease.loss is Loss.DELETED
    book, lease = held()
    book.write(UpdateItem(TABLE, KEY, Update(set={"leaseCounter": 9, "checkpoint": "rubbish"}), (Exists("leaseKey"),)))
    book.now = 3.4
    book.step(lease)
    assert lease.loss is Loss.MALFORMED


def test_a_counter_that_jumped_means_lost() -> None:
    """Two writes under our name that we did not make: an earlier life of this id, or an operator."""
    book, lease = held()
    book.write(UpdateItem(TABLE, KEY, Update(add={"leaseCounter": 2}), (Exists("leaseKey"),)))
    book.now = 3.4
    book.step(lease)
    assert lease.loss is Loss.TAKEN


def test_throttled_renewals_are_retried_until_the_lease_expires() -> None:
    """Refusals back off within the tick; when the lease may have expired nothing is sent any more."""
    _, lease = held()
    now, sent = 0.0, 0
    while not lease.over:
        wakeup = lease.next_wakeup()
        assert wakeup is not None
        now = max(now, wakeup)
        op = lease.next_op(now)
        if op is not None:
            sent += 1
            assert now < lease.valid_until
            lease.on_failed(op, now, ambiguous=False)
    assert lease.loss is Loss.EXPIRED
    assert 5 <= sent <= 20
    assert now == pytest.approx(9.5)


def test_a_hand_off_is_noticed_and_renewed_through() -> None:
    """A renewal that fails on `checkpointOwner` adopts the next owner and renews again by counter."""
    book, lease = held()
    book.write(WRITES.hand_off(book.row(), "you"))
    book.now = 3.4
    book.step(lease)
    assert (lease.handoff_to, lease.state) == ("you", HeldState.HELD)
    book.step(lease)
    assert (book.row().counter, lease.valid_since) == (2, 3.4)
    lease.want_checkpoint(at(5), urgent=True)
    book.step(lease)
    lease.transfer_wanted = True
    book.step(lease)
    row = book.row()
    assert (row.owner, row.checkpoint_owner, row.counter, row.checkpoint) == ("you", None, 4, at(5))
    assert (lease.state, lease.loss, row.owner_switches) == (HeldState.RELEASED, Loss.RELEASED, 0)


def test_a_hand_off_to_the_owner_itself_means_lost() -> None:
    """Both owners equal is no hand-off that the protocol knows."""
    book, lease = held()
    book.write(WRITES.hand_off(book.row(), "me"))
    book.now = 3.4
    book.step(lease)
    assert lease.loss is Loss.TAKEN


def test_a_restart_within_a_hand_off_does_not_resume() -> None:
    """A lease in the middle of a hand-off is not acquired by renewing it."""
    book = Book()
    book.create()
    book.write(WRITES.assign(book.row(), "me"))
    first = WRITES.renew(book.row())
    lease = book.holder("me", first)
    book.write(WRITES.hand_off(book.row(), "you"))
    book.step(lease)
    assert (lease.state, lease.loss) == (HeldState.LOST, Loss.TAKEN)


def test_release_after_the_last_checkpoint() -> None:
    """Giving back writes the wanted checkpoint first, and leaves the row unowned."""
    book, lease = held()
    lease.want_checkpoint(at(5), urgent=False)
    lease.release_wanted = True
    book.step(lease)
    book.step(lease)
    row = book.row()
    assert (row.owner, row.checkpoint, row.counter) == (None, at(5), 3)
    assert lease.state is HeldState.RELEASED


def test_a_release_of_unknown_outcome_is_found_out() -> None:
    """An unowned row after a release whose reply was lost means released."""
    book, lease = held()
    lease.release_wanted = True
    op = lease.next_op(0.0)
    assert op is not None
    assert op.write is not None
    book.write(op.write)
    lease.on_failed(op, 1.0, ambiguous=True)
    book.now = 1.0
    book.step(lease)
    assert lease.state is HeldState.RELEASED


def test_nothing_is_delivered_once_a_release_may_have_arrived() -> None:
    """A give-back ends validity when it is sent: another worker may take the row before its answer is here, or late."""
    book, lease = held()
    lease.release_wanted = True
    op = lease.next_op(0.0)
    assert op is not None
    assert not lease.is_valid(0.0)
    lease.on_failed(op, 1.0, ambiguous=True)
    book.now = 1.0
    book.step(lease)
    assert (lease.state, book.row().owner) == (HeldState.HELD, "me")
    assert not lease.is_valid(1.0)


def test_a_refused_release_leaves_the_lease_valid() -> None:
    """A give-back that was throttled has changed nothing: what is in the handler's hands may still be delivered."""
    _, lease = held()
    lease.release_wanted = True
    op = lease.next_op(0.0)
    assert op is not None
    lease.on_failed(op, 0.5, ambiguous=False)
    assert lease.is_valid(0.5)


def test_a_prepared_checkpoint_is_stored_and_cleared_by_the_next() -> None:
    """Two phases: prepare beside the stored checkpoint, then commit it."""
    book, lease = held()
    lease.want_pending(Pending(at(9), b"state"))
    book.step(lease)
    assert (book.row().pending, book.row().checkpoint) == (Pending(at(9), b"state"), TRIM_HORIZON)
    lease.want_checkpoint(at(9), urgent=True)
    book.step(lease)
    assert (book.row().pending, book.row().checkpoint) == (None, at(9))


def test_the_shard_end_is_stored_as_its_sentinel() -> None:
    """SHARD_END is a checkpoint above every other."""
    book, lease = held()
    lease.want_checkpoint(at(5), urgent=True)
    lease.want_checkpoint(SHARD_END, urgent=True)
    book.step(lease)
    item = book.item()
    assert item is not None
    assert (item["checkpoint"], item["checkpointSubSequenceNumber"]) == ("SHARD_END", 0)


def test_a_take_that_comes_too_late_acquires_nothing() -> None:
    """The loser of a race for a free lease learns it from the failed condition."""
    book = Book()
    book.create()
    mine = book.holder("me", WRITES.take(book.row(), "me"))
    book.taken("you")
    book.step(mine)
    assert (mine.state, mine.loss, mine.token) == (HeldState.LOST, Loss.TAKEN, 0)


def test_giving_up_needs_no_write() -> None:
    """A lease can be dropped on the spot; what arrives later changes nothing."""
    book, lease = held()
    op = lease.next_op(3.4)
    assert op is not None
    assert op.write is not None
    lease.give_up(Loss.EXPIRED)
    lease.on_result(op, book.write(op.write), 3.5)
    lease.on_failed(op, 3.6, ambiguous=True)
    lease.on_read(book.item(), 3.7)
    assert (lease.state, lease.row.counter) == (HeldState.LOST, 1)


def test_a_finished_lease_is_deleted_as_read() -> None:
    """The holder's deletion goes through the same one lock, conditional on its own counter and SHARD_END."""
    book, lease = held()
    lease.want_checkpoint(SHARD_END, urgent=True)
    book.step(lease)
    lease.delete_wanted = True
    book.step(lease)
    assert (book.item(), lease.state, lease.loss) == (None, HeldState.RELEASED, Loss.RELEASED)


def test_a_deletion_of_unknown_outcome_is_found_out() -> None:
    """A row that is gone after a deletion whose reply was lost means done; one that stands is deleted again."""
    book, lease = held()
    lease.want_checkpoint(SHARD_END, urgent=True)
    book.step(lease)
    lease.delete_wanted = True
    first = lease.next_op(0.0)
    assert first is not None
    lease.on_failed(first, 0.5, ambiguous=True)
    book.now = 0.5
    book.step(lease)
    second = lease.next_op(0.6)
    assert second is not None
    assert second.write is not None
    book.write(second.write)
    lease.on_failed(second, 0.7, ambiguous=True)
    book.now = 0.7
    book.step(lease)
    assert lease.state is HeldState.RELEASED
