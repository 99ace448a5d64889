"""HTTP/1.1 messages as values: requests as they come, answers as they go out."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

__all__ = ["Answer", "BadRequest", "Head", "Request", "Stream", "parse_head", "render", "render_head"]

HEAD_BYTES_MAX: Final = 64 * 1024
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_PARTS = 3


class BadRequest(Exception):
    """The bytes are no HTTP/1.1 request that this server takes; the connection is closed after the answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Head(NamedTuple):
    """A request's first line and headers (names in lower case)."""

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def keep_alive(self) -> bool:
        """Say whether the client wants the connection kept."""
        return self.headers.get("connection", "").lower() != "close"


class Request(NamedTuple):
    """A whole request."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | bytearray

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The target's query, without the question mark."""
        return self.target.partition("?")[2]

    def __repr__(self) -> str:
        return f"Request({self.method} {self.path}, {len(self.body)} bytes)"


@dataclass(slots=True)
class Answer:
    """A whole answer; `cut` bytes of the body are held back and the connection closed (a scripted fault)."""

    status: int
    body: bytes
    content_type: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    cut: int = 0


@dataclass(slots=True)
class Stream:
    """An answer whose body comes bit by bit, as chunks; closing `chunks` ends what makes them."""

    chunks: AsyncGenerator[bytes]
    content_type: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    status: int = 200


Reply: TypeAlias = "Answer | Stream | None"
"""None: no answer at all; the connection is closed (a scripted fault)."""


def parse_head(block: bytes) -> Head:
    """Return the head for the bytes before the empty line; raise `BadRequest` for anything else."""
    lines = block.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != _PARTS or not parts[2].startswith("HTTP/1."):
        raise BadRequest(400, "no HTTP/1.1 request line")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequest(400, "a header without a colon")
        headers[name.lower()] = value.strip()
    return Head(parts[0], parts[1], headers)


def render_head(status: int, headers: Sequence[tuple[str, str]]) -> bytes:
    """Return the status line and headers with the empty line after them."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}", *(f"{k}: {v}" for k, v in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def render(answer: Answer, *, keep_alive: bool, head_only: bool = False) -> bytes:
    """Return the bytes of a whole answer."""
    headers = [("content-type", answer.content_type), *answer.headers.items()]
    if "content-length" not in answer.headers:
        headers.append(("content-length", str(len(answer.body))))
    if not keep_alive:
        headers.append(("connection", "close"))
    body = b"" if head_only else answer.body[: len(answer.body) - answer.cut]
    return render_head(answer.status, headers) + body
