"""What `shardline demo` can be asked for, checked, and what it tells its processes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final

from shardline.cli.input import stream_name, whole_number
from shardline.common.aws.endpoints import check_endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CALL_TIMEOUT_S",
    "DRAIN",
    "FAILOVER_S",
    "PARENT_POLL_S",
    "RATE",
    "SECONDS",
    "SEED",
    "SHARDS",
    "WORKERS",
    "DemoSettings",
    "ProcessSettings",
    "demo_settings",
]

FAILOVER_S: Final = 3.0
CALL_TIMEOUT_S: Final = 1.0
PARENT_POLL_S: Final = 1.0

# Option: lowest, highest. Highest: what one machine can run, and what the ledger's memory is bounded by.
SECONDS: Final = (15, 3600)
RATE: Final = (1, 20_000)
SHARDS: Final = (1, 64)
WORKERS: Final = (1, 16)
DRAIN: Final = (1, 60)
SEED: Final = (0, 2**32 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSettings:
    """One run of the demo, checked by `demo_settings`.

    `seconds` is the load time, `drain` the longest time after it until everything is processed, `rate` user records
    per second; `endpoint_url` None means an endpoint of its own; `stream` names the stream and the lease table, and the
    registered consumer where `retrieval` is ``fanout``.
    """

    seconds: int = 30
    rate: int = 2000
    shards: int = 4
    workers: int = 3
    drain: int = 60
    seed: int = 1
    endpoint_url: str | None = None
    region: str | None = None
    stream: str = "shardline-demo"
    as_json: bool = False
    yes: bool = False
    out: str | None = None
    retrieval: str = "polling"

    @property
    def ids_max(self) -> int:
        """How many ids the run can use: the load at the asked rate, and room for the last tick."""
        return self.rate * (self.seconds + 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """What a child process needs to know; one JSON object on the first line of its standard input.

    `stream` names the lease table too. `other_url` is where DynamoDB and CloudWatch are; None leaves it to the SDK.
    Credentials are not in it: a child finds them where the SDK looks, as its parent did (`local`: needs none).
    """

    name: str
    stream: str
    region: str | None
    kinesis_url: str | None
    other_url: str | None
    rate: int
    seconds: int
    seed: int
    local: bool
    retrieval: str
    failover_s: float = FAILOVER_S
    fleet: str = "auto"

    def as_fields(self) -> dict[str, Any]:
        """Return the settings by name."""
        return asdict(self)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> ProcessSettings:
        """Return the settings that `as_fields` wrote."""
        return cls(**fields)


def demo_settings(
    *,
    seconds: str,
    rate: str,
    shards: str,
    workers: str,
    drain: str,
    seed: str | None,
    endpoint_url: str | None,
    region: str | None,
    stream: str | None,
    yes: bool,
    as_json: bool,
    out: str | None,
) -> DemoSettings:
    """Return the settings for what was typed; raise `InvalidInput` naming the option and its range."""
    chosen = Random().randrange(SEED[1]) if seed is None else whole_number("--seed", seed, *SEED)
    settings = DemoSettings(
        seconds=whole_number("--seconds", seconds, *SECONDS),
        rate=whole_number("--rate", rate, *RATE),
        shards=whole_number("--shards", shards, *SHARDS),
        workers=whole_number("--workers", workers, *WORKERS),
        drain=whole_number("--drain", drain, *DRAIN),
        seed=chosen,
        endpoint_url=endpoint_url,
        region=region,
        stream=f"shardline-demo-{chosen:08x}" if stream is None else stream_name("--stream", stream),
        yes=yes,
        as_json=as_json,
        out=out,
    )
    if endpoint_url is not None:
        check_endpoint("--endpoint-url", endpoint_url)
    return settings
