"""The fuzzer's corpus, replayed as ordinary tests: what it once reached stays reached, and right."""

from __future__ import annotations

from pathlib import Path

from shardline.common.deaggregation import inspect

from tests.common.aggregates import REASONS, blob
from tests.fuzz.target import check_input

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


def test_the_decoder_is_right_for_the_whole_corpus() -> None:
    """Each input of the corpus has the verdict and the records that protobuf's runtime gives it."""
    for path in CORPUS:
        check_input(path.read_bytes())
    assert CORPUS


def test_the_corpus_reaches_every_verdict() -> None:
    """The corpus holds plain blobs, aggregates, and each reason for which a blob is malformed."""
    found = set[str | None]()
    for path in CORPUS:
        data = path.read_bytes()
        verdict = inspect(blob(data[1:]) if data[0] & 1 else data[1:])
        found.add(verdict.reason or verdict.kind)
    assert found >= {"plain", "aggregate", *REASONS} - {"too-many"}
