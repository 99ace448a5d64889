"""A table of texts within a blob, in memory bounded by the blob's length."""

from __future__ import annotations

from array import array


class _Positions:
    """Where texts stand that are read again when asked for; the long ones are kept all the same."""

    __slots__ = ("large", "starts", "stops")

    def __init__(self) -> None:
        self.starts = array("I")
        self.stops = array("I")
        self.large: dict[int, str] = {}


class Texts:
    """A table of texts in a blob: the first thousands kept as `str`, the rest read again when asked for.

    A text of two characters weighs 59 bytes as `str` and four in the blob: keeping all of a hostile table would cost
    fifteen times its bytes. Long texts are always kept, so that reading one again is never dear.
    """

    __slots__ = ("_blob", "_rest", "kept")

    KEPT_MAX = 16_384
    LARGE_BYTES = 1024

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self.kept: list[str] = []
        self._rest: _Positions | None = None

    def add(self, start: int, stop: int, text: str) -> None:
        """Append the text that stands at blob[start:stop]."""
        if len(self.kept) < self.KEPT_MAX:
            self.kept.append(text)
            return
        if self._rest is None:
            self._rest = _Positions()
        if stop - start > self.LARGE_BYTES:
            self._rest.large[len(self)] = text
        self._rest.starts.append(start)
        self._rest.stops.append(stop)

    def add_run(self, at: int, texts: list[str]) -> None:
        """Append texts that follow each other from `at` on, each behind a tag and a length of one byte."""
        if len(self) + len(texts) <= self.KEPT_MAX:
            self.kept += texts
            return
        for text in texts:
            start, at = at + 2, at + 2 + self._blob[at + 1]
            self.add(start, at, text)

    @property
    def all_kept(self) -> bool:
        """Say whether `kept` holds the whole table."""
        return self._rest is None

    def __len__(self) -> int:
        return len(self.kept) + (0 if self._rest is None else len(self._rest.starts))

    def __getitem__(self, index: int) -> str:
        rest = self._rest
        if rest is None or index < len(self.kept):
            return self.kept[index]
        text = rest.large.get(index)
        if text is None:
            at = index - len(self.kept)
            text = str(self._blob[rest.starts[at] : rest.stops[at]], "utf-8")
        return text
