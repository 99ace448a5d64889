"""`shardline leases`: what two looks at a lease table tell, and the command against a table that a worker made."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from shardline.cli import leases
from shardline.cli.lease_report import report
from shardline.common.errors import InvalidInput
from shardline.common.ports.lease_store import TableSpec
from shardline.consumer import TableConfig, Worker, WorkerConfig
from shardline.consumer.fleet.worker_metrics import PRIVATE_MARK
from shardline.local import LocalServices

if TYPE_CHECKING:
    from shardline.common.ports.lease_store import Item


def lease(key: str, counter: int = 1, owner: str | None = None, checkpoint: str = "TRIM_HORIZON", **more: Any) -> Item:
    """Return a lease's item."""
    item: dict[str, Any] = {"leaseKey": key, "leaseCounter": counter, "checkpoint": checkpoint, "entityType": "LEASE"}
    item |= {"ownerSwitchesSinceCheckpoint": 0, "checkpointSubSequenceNumber": 0} | more
    return item if owner is None else item | {"leaseOwner": owner}


def states(before: list[Item], after: list[Item], *, judged: bool = True) -> dict[str, str]:
    """Return each lease's state."""
    return {str(line["lease"]): str(line["state"]) for line in report(before, after, 0.0, judged=judged).leases}


def test_a_counter_that_moves_is_a_lease_that_is_held() -> None:
    """One that stands still is not; one that changed its owner, or is new, is held."""
    before = [lease("a", 1, "w"), lease("b", 7, "w"), lease("c", 3, "w")]
    after = [lease("a", 2, "w"), lease("b", 7, "w"), lease("c", 3, "x"), lease("d", 0, "x")]
    assert states(before, after) == {"a": "held", "b": "still", "c": "held", "d": "held"}
    assert states(before, before, judged=False) == dict.fromkeys("abc", "owned")


def test_a_child_waits_for_parents_that_are_not_finished() -> None:
    """The report says for which; a parent whose row is gone, or at its end, holds nobody up."""
    parents: dict[str, Any] = {"parentShardId": frozenset({"p", "q", "gone"})}
    items = [lease("p", 1, None, "SHARD_END"), lease("q", 1, "w"), lease("child", 0, None, **parents)]
    found = report(items, [items[0], lease("q", 2, "w"), items[2]], 0.0, judged=True)
    assert [(line["lease"], line["state"], line.get("waits_for")) for line in found.leases] == [
        ("child", "waiting", ["q"]),
        ("p", "finished", None),
        ("q", "held", None),
    ]
    assert not found.troubled


def test_nobody_reads_what_is_unowned_or_unreadable() -> None:
    """Both are trouble; so is an owner that does not renew."""
    bad: Item = {"leaseKey": "bad", "leaseCounter": "x", "checkpoint": "TRIM_HORIZON"}
    for items, state in (([lease("a")], "unowned"), ([bad], "unreadable"), ([lease("a", 1, "w")], "still")):
        found = report(items, items, 0.0, judged=True)
        assert [line["state"] for line in found.leases] == [state]
        assert found.troubled


def test_the_fleet_is_told_last() -> None:
    """Leader, and who reported how long ago; rows of other kinds are no leases."""
    items: list[Item] = [
        {"leaseKey": "Leader", "entityType": "LEADER", "ownerName": "w", "recordVersionNumber": "1"},
        {"leaseKey": "w", "entityType": "WORKER_METRIC_STATS", "lut": 90, "sts": {}, "opr": {}, PRIVATE_MARK: 1},
        lease("a", 1, "w"),
    ]
    found = report(items, items, 100.0, judged=False).fleet
    assert (found["leases"], found["states"], found["leader"]) == (1, {"owned": 1}, "w")
    assert found["workers"] == {"w": {"reported_s_ago": 10, "shardline": True}}


def test_the_command_reads_what_a_worker_wrote(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two shards, started and stopped: unowned, so the exit status is 1."""
    services = LocalServices()
    services.state.create_stream("orders", 2, now=0.0)
    monkeypatch.setattr(leases, "Connection", lambda: services)
    config = WorkerConfig(table=TableConfig(name="billing-leases", deletion_protection=False))

    async def main() -> None:
        async with Worker("billing", streams="orders", start="LATEST", connection=services, config=config):
            pass

    asyncio.run(main())
    assert leases.run("billing", table="billing-leases", wait_s=0) == 1
    *lines, fleet = map(json.loads, capsys.readouterr().out.splitlines())
    assert [line["state"] for line in lines] == ["unowned"] * 2
    assert fleet["leases"] == 2


def test_a_table_that_is_not_there_or_is_another_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an empty answer: a mistyped name looks like a fleet without leases otherwise."""
    services = LocalServices()
    monkeypatch.setattr(leases, "Connection", lambda: services)
    with pytest.raises(InvalidInput, match="there is no table billing"):
        leases.run("billing", table=None, wait_s=0)

    async def main() -> None:
        async with services.lease_store() as store:
            await store.create_table(TableSpec(name="others", key_attribute="id"), timeout_s=1)

    asyncio.run(main())
    with pytest.raises(InvalidInput, match="another key"):
        leases.run("others", table=None, wait_s=0)
