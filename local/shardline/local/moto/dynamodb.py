"""moto's DynamoDB with a cheaper way out: the items of the hot calls are plain JSON already.

moto's generic serializer walks the service model for every attribute: 25 ms for a scan of 20 rows. A test compares both
forms for every call that takes the short way.
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# (moto has no types)

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

from moto.dynamodb.responses import DynamoHandler

if TYPE_CHECKING:
    from collections.abc import Callable

    from moto.core.responses import ActionResult

__all__ = ["SHORT", "handler"]

SHORT: Final = frozenset({"GetItem", "PutItem", "UpdateItem", "DeleteItem", "Scan", "Query"})


class _QuickHandler(DynamoHandler):
    """Serializes the results of the hot calls with one `json.dumps`; everything else as moto does."""

    def serialized(self, action_result: ActionResult) -> tuple[int, dict[str, Any], str | bytes]:
        """Return status, headers and body of a result."""
        result = action_result.result
        if self._get_action() not in SHORT or not isinstance(result, dict):
            slow: tuple[int, dict[str, Any], str | bytes] = super().serialized(action_result)
            return slow
        headers = {"Content-Type": "application/x-amz-json-1.0", **self.response_headers}
        named = {k: v for k, v in result.items() if k != "ConsumedCapacityUnits"}  # Not a field of the service's.
        return 200, headers, json.dumps(_plain(named), separators=(",", ":"))


def _plain(value: Any) -> Any:  # noqa: ANN401 - a recursive structure.
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if hasattr(value, "to_json"):
        return _plain(value.to_json())
    return value


def handler() -> Callable[[Any, str, Any], Any]:
    """Return the function that takes moto's request, its URL and its headers."""
    dispatch: Callable[[Any, str, Any], Any] = _QuickHandler.dispatch
    return dispatch
