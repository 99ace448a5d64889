"""The 2.x leader equals Java's shuffle."""

from __future__ import annotations

import pytest

from shardline.consumer.fleet.shuffle_leader import is_shuffle_leader, java_shuffled


@pytest.mark.parametrize(
    ("names", "shuffled"),
    [("ab", "ab"), ("abc", "cab"), ("abcde", "eacbd"), ("abcdefgh", "cdagehbf"), ("abcdefghij", "ifbgjecahd")],
)
def test_the_shuffle_is_javas(names: str, shuffled: str) -> None:
    """The vectors were run on a JDK 17 (`kcl.md` 3.7)."""
    assert "".join(java_shuffled(reversed(names))) == shuffled


def test_one_leads() -> None:
    """Exactly the first of the shuffle leads; unowned leases do not count."""
    owners = ["a", None, "b", "c", "c"]
    assert [one for one in "abc" if is_shuffle_leader(one, owners)] == ["c"]


def test_nobody_owns_everybody_leads() -> None:
    """Before any lease is owned every worker may sync."""
    assert is_shuffle_leader("x", [None, None])
