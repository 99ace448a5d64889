"""Deny by default: which access key may do what, so that a documented IAM policy can be tried before it is deployed.

Pure. A grant is ``service:Action`` or ``service:Action name`` with shell patterns, the name being a stream's or a
table's. Keys without grants may do nothing; without a policy at all everything is allowed.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from shardline.common.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["AccessPolicy", "actions_of"]

_PREFIXES: Final = {"monitoring": "cloudwatch"}
"""IAM's name of a service where it is not the one that signs."""
_TRANSACTION: Final = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}


class AccessPolicy:
    """Grants by access key id; raises `InvalidInput` for a grant that is none."""

    def __init__(self, grants: Mapping[str, Sequence[str]]) -> None:
        self._grants = {key: [_grant(text) for text in texts] for key, texts in grants.items()}

    def denied(self, access_key: str, actions: Sequence[str], resource: str) -> str | None:
        """Return the first action that the key may not do on the resource, or None."""
        granted = self._grants.get(access_key, [])
        for action in actions:
            if not any(fnmatchcase(action, a) and fnmatchcase(resource, r) for a, r in granted):
                return action
        return None

    def __repr__(self) -> str:
        return f"AccessPolicy({len(self._grants)} keys)"


def _grant(text: str) -> tuple[str, str]:
    action, _, resource = text.partition(" ")
    service, colon, name = action.partition(":")
    if not (colon and service and name):
        raise InvalidInput("access", "grants like 'kinesis:PutRecords' or 'dynamodb:* leases'", repr(text))
    return action, resource or "*"


def actions_of(service: str, operation: str, writes: Sequence[str] = ()) -> list[str]:
    """Return the IAM actions that an operation needs; a transaction needs those of its `writes` (Put, Update ...)."""
    prefix = _PREFIXES.get(service, service)
    if operation == "TransactWriteItems":
        return [f"{prefix}:{_TRANSACTION[kind]}" for kind in writes if kind in _TRANSACTION]
    return [f"{prefix}:{operation}"]
