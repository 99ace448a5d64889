"""A table of texts within a blob, in memory bounded by the blob's length."""

from __future__ import annotations

from array import array


class Texts:
    """A table of texts in a blob: the first thousands kept as `str`, the rest read again when asked for.

    A text of two characters weighs 59 bytes as `str` and four in the blob: keeping all of a hostile table would cost
    fifteen times its bytes. Long texts are always kept, so that reading one again is never dear.
    """

    __slots__ = ("_blob", "_large", "_starts", "_stops", "kept")

    KEPT_MAX = 16_384
    LARGE_BYTES = 1024

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self.kept: list[str] = []
        self._starts = array("I")
        self._stops = array("I")
        self._large: dict[int, str] = {}

    def add(self, start: int, stop: int, text: str) -> None:
        """Append the text that stands at blob[start:stop]."""
        if len(self.kept) < self.KEPT_MAX:
            self.kept.append(text)
            return
        if stop - start > self.LARGE_BYTES:
            self._large[len(self)] = text
        self._starts.append(start)
        self._stops.append(stop)

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
        return not self._starts

    def __len__(self) -> int:
        return len(self.kept) + len(self._starts)

    def __getitem__(self, index: int) -> str:
        if index < len(self.kept):
            return self.kept[index]
        text = self._large.get(index)
        if text is None:
            at = index - len(self.kept)
            text = str(self._blob[self._starts[at] : self._stops[at]], "utf-8")
        return text
