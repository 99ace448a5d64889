"""The endpoint's own calls under ``/_shardline/``: health, options, faults, on-demand scaling, reset. JSON both ways.

GET health, which tells the CPU seconds of the process too; GET, PUT options and dynamodb (only the fields given are
changed); GET, PUT, POST, DELETE faults; POST streams/NAME/scale {"shards": N}; POST reset.
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# (what a client sent, unknown until it is checked)

from __future__ import annotations

import json
import time
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any, Final

from shardline.common.errors import InvalidInput
from shardline.common.ports.kinesis import Stream
from shardline.local.faults.plan import FaultRule
from shardline.local.http.message import Answer
from shardline.local.moto.front import DynamoOptions
from shardline.local.state.options import KinesisOptions, Limits, ShardEnd
from shardline.local.state.refusal import Refusal

if TYPE_CHECKING:
    from enum import StrEnum

    from shardline.local.http.app import App
    from shardline.local.http.message import Request

__all__ = ["PREFIX", "administer"]

PREFIX: Final = "/_shardline/"
_TEXTS: Final[dict[str, type[StrEnum]]] = {"limits": Limits, "shard_end": ShardEnd}
_SCALE_PARTS: Final = 3


def administer(app: App, request: Request) -> Answer:
    """Carry out one call of the endpoint's own; wrong input is answered with status 400 and says what is allowed."""
    try:
        content = json.loads(request.body) if request.body else None
        status, result = _call(app, request.method, request.path.removeprefix(PREFIX), content)
    except (InvalidInput, Refusal) as error:
        status, result = 400, {"error": str(error)}
    except ValueError:
        status, result = 400, {"error": "the body must be JSON"}
    return Answer(status, json.dumps(result).encode(), "application/json")


def _call(app: App, method: str, path: str, content: Any) -> tuple[int, Any]:  # noqa: ANN401 - whatever JSON held.
    if path == "health":
        return 200, {"status": "ok", "streams": sorted(app.state.streams), "cpu_s": time.process_time()}
    if path in {"options", "dynamodb"}:
        return 200, _options(app, method, path, content)
    if path == "faults":
        return 200, _faults(app, method, content)
    if (method, path) == ("POST", "reset"):
        app.reset()
        return 200, {}
    parts = path.split("/")
    if method == "POST" and len(parts) == _SCALE_PARTS and (parts[0], parts[2]) == ("streams", "scale"):
        app.state.scale_on_demand(Stream.of(parts[1]), _shards(content), now=app.clock())
        return 200, {}
    return 404, {"error": f"{method} {path} is none of this endpoint's calls"}


def _options(app: App, method: str, path: str, content: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever JSON held.
    if path == "options":
        if method == "PUT":
            app.state.options = _replaced(app.state.options, KinesisOptions, content)
        return asdict(app.state.options)
    if method == "PUT":
        app.dynamodb.options = _replaced(app.dynamodb.options, DynamoOptions, content)
    return asdict(app.dynamodb.options)


def _faults(app: App, method: str, content: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - whatever JSON held.
    if method == "DELETE":
        app.set_faults([])
    elif method in {"PUT", "POST"}:
        listed = content if isinstance(content, list) else [content]
        rules = [FaultRule.from_json(one) for one in listed]
        if method == "PUT":
            app.set_faults(rules)
        else:
            app.add_faults(rules)
    return app.faults.report()


def _shards(content: Any) -> int:  # noqa: ANN401 - whatever JSON held.
    shards = content.get("shards") if isinstance(content, dict) else None
    if not isinstance(shards, int) or isinstance(shards, bool):
        raise InvalidInput("shards", "a number of shards, 1 or more")
    return shards


def _replaced(present: Any, kind: type[Any], content: Any) -> Any:  # noqa: ANN401 - options of either kind.
    """Return the options with the fields that `content` names; unknown names and wrong types are refused."""
    if not isinstance(content, dict):
        raise InvalidInput("options", "an object")
    known = {f.name: getattr(present, f.name) for f in fields(kind)}
    for name, value in content.items():
        if name not in known:
            raise InvalidInput(name, f"one of {', '.join(known)}")
        wanted = type(known[name])
        numeric = wanted is float and isinstance(value, int | float) and not isinstance(value, bool)
        if not numeric and not (name in _TEXTS and isinstance(value, str)) and type(value) is not wanted:
            raise InvalidInput(name, f"a value of type {wanted.__name__}")
        if name in _TEXTS and value not in list(_TEXTS[name]):
            raise InvalidInput(name, f"one of {', '.join(_TEXTS[name])}", str(value))
    return replace(present, **{n: _TEXTS[n](v) if n in _TEXTS else v for n, v in content.items()})
