"""What a fuzzer feeds, and what must hold for it: `check_input` raises for an input that the decoder gets wrong.

The first byte of an input says how to use the rest: with its lowest bit set as a message, which gets magic and digest
(no fuzzer guesses an MD5), else as the blob itself; the other bits are the records per step. So the same input reaches
the same state in a fuzzer, in the corpus' test and by hand.
"""

from __future__ import annotations

from tests.common.aggregates import assert_agrees_with_the_oracle, blob


def check_input(data: bytes) -> None:
    """Decode what an input stands for and compare it with protobuf's runtime."""
    if not data:
        return
    fields_per_step = 1 + (data[0] >> 1)
    assert_agrees_with_the_oracle(blob(data[1:]) if data[0] & 1 else data[1:], fields_per_step)
