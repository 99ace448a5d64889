"""What the state tells about itself: ListStreams, ListShards with its filters and pages, tokens that carry them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from shardline.common.ports.kinesis import ShardFilter, ShardFilterKind, ShardPage, Stream
from shardline.local.state.control import Control
from shardline.local.state.refusal import Refusal, invalid, validation
from shardline.local.state.tokens import decode_token, encode_token

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardline.local.state.shard import ShardLog
    from shardline.local.state.stream import StreamState

__all__ = ["Listing", "StreamPage"]

_PAGE_MAX = 10_000  # API ListShards: MaxResults is 1 to 10,000.


class StreamPage(NamedTuple):
    """One page of ListStreams."""

    streams: list[StreamState]
    next_token: str | None


class Listing(Control):
    """Listing calls; pages follow one another by token alone."""

    def list_streams(
        self, *, now: float, limit: int = 100, after: str | None = None, next_token: str | None = None
    ) -> StreamPage:
        """Return streams by name, those after `after` (or after the token's place)."""
        self.settle(now)
        self.admit("ListStreams", "", now)
        if not 1 <= limit <= _PAGE_MAX:
            raise validation(f"Value at 'limit' must be from 1 to {_PAGE_MAX}, got {limit}.")
        if next_token is not None:
            after = self._content(next_token, now).get("name")
            if after is None:
                raise invalid("Invalid NextToken.")
        names = sorted(n for n in self.streams if after is None or n > after)
        page = [self.streams[n] for n in names[:limit]]
        token = self._token(now, name=page[-1].name) if len(names) > limit else None
        return StreamPage(page, token)

    def list_shards(
        self,
        stream: Stream | None,
        *,
        now: float,
        shard_filter: ShardFilter | None = None,
        next_token: str | None = None,
        exclusive_start: str | None = None,
        results_max: int | None = None,
    ) -> ShardPage:
        """Return one page of shards in order of their ids; a token stands alone, without stream, start or filter."""
        limit = min(results_max or self.options.list_shards_page_max, self.options.list_shards_page_max)
        if results_max is not None and not 1 <= results_max <= _PAGE_MAX:
            raise validation(f"Value at 'maxResults' must be from 1 to {_PAGE_MAX}, got {results_max}.")
        last = -1
        if next_token is not None:
            if stream is not None or exclusive_start is not None:
                raise invalid("NextToken and StreamName cannot be provided together.")
            stream, shard_filter, last = self._resume(next_token, now)
        if stream is None:
            raise invalid("Either NextToken or StreamName should be provided.")
        found = self.resolve(stream, now)
        self.admit("ListShards", found.name, now)
        if exclusive_start is not None:
            last = _index(exclusive_start)
        chosen = [s for s in self._filtered(found, shard_filter, now) if s.index > last]
        page = chosen[:limit]
        more = len(chosen) > limit
        token = self._page_token(found, shard_filter, page[-1].index, now) if more else None
        return ShardPage([s.describe() for s in page], token)

    def _filtered(self, stream: StreamState, wanted: ShardFilter | None, now: float) -> Iterable[ShardLog]:
        shards = list(stream.listed(now))
        if len(shards) < len(stream.shards):
            for shard in stream.shards.values():
                self.trim(stream, shard, now)  # Whoever is told that a shard is over must find the log to say so too.
        kind = ShardFilterKind.FROM_TRIM_HORIZON if wanted is None else wanted.kind
        match kind:
            case ShardFilterKind.AFTER_SHARD_ID:
                if wanted is None or wanted.shard_id is None:
                    raise invalid("ShardId is required for ShardFilter type AFTER_SHARD_ID.")
                after = _index(wanted.shard_id)
                chosen = [s for s in shards if s.index > after]
            case ShardFilterKind.AT_LATEST:
                chosen = [s for s in shards if s.is_open]
            case ShardFilterKind.FROM_TRIM_HORIZON:
                chosen = shards
            case ShardFilterKind.AT_TRIM_HORIZON:
                chosen = _open_at(shards, max(stream.created_s, stream.horizon(now)))
            case ShardFilterKind.AT_TIMESTAMP:
                chosen = _open_at(shards, _moment(stream, wanted, now))
            case ShardFilterKind.FROM_TIMESTAMP:
                at = _moment(stream, wanted, now)
                chosen = [s for s in shards if s.closed_s is None or s.closed_s > at]
        return chosen

    # --- tokens ---

    def _token(self, now: float, **content: Any) -> str:
        return encode_token({"at": round(now, 3), **content})

    def _content(self, token: str, now: float) -> dict[str, Any]:
        content = decode_token(token)
        if now - content["at"] > self.options.token_lifetime_s:
            raise Refusal("ExpiredNextTokenException", "The NextToken has expired.")
        return content

    def _page_token(self, stream: StreamState, wanted: ShardFilter | None, last: int, now: float) -> str:
        filtered = None if wanted is None else [str(wanted.kind), wanted.timestamp_s, wanted.shard_id]
        return self._token(now, stream=stream.name, created=stream.created_ms, filter=filtered, last=last)

    def _resume(self, token: str, now: float) -> tuple[Stream, ShardFilter | None, int]:
        content = self._content(token, now)
        if "last" not in content:
            raise invalid("Invalid NextToken.")
        stream = Stream(content["stream"])
        if self.resolve(stream, now).created_ms != content["created"]:
            raise invalid("Invalid NextToken.")
        wanted = content["filter"]
        kept = None if wanted is None else ShardFilter(ShardFilterKind(wanted[0]), wanted[1], wanted[2])
        return stream, kept, content["last"]


def _moment(stream: StreamState, wanted: ShardFilter | None, now: float) -> float:
    """Return a filter's moment, not before the trim horizon; raise for none and for one in the future."""
    at = None if wanted is None else wanted.timestamp_s
    if at is None or at > now:
        raise invalid("A Timestamp, not in the future, is required for this type of ShardFilter.")
    return max(at, stream.created_s, stream.horizon(now))


def _open_at(shards: Iterable[ShardLog], at_s: float) -> list[ShardLog]:
    """Return the shards open at a moment: one exact cover of the key space."""
    return [s for s in shards if s.opened_s <= at_s and (s.closed_s is None or s.closed_s > at_s)]


def _index(shard_id: str) -> int:
    tail = shard_id.rpartition("-")[2]
    if not (tail.isascii() and tail.isdigit()):
        raise invalid(f"Invalid ShardId: {len(shard_id)} characters.")
    return int(tail)
