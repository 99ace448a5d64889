"""What a failure is called, and where it was raised: enough to find it, nothing of a payload."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from shardline.common.codec import JsonCodec, decode
from shardline.common.errors import HandlerProcessFailed, Throttled
from shardline.consumer.reasons import place_of, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "canary-7261"


def raised(function: Callable[[], object]) -> BaseException:
    """Return what a function raises."""
    try:
        function()
    except Exception as error:  # noqa: BLE001 - whatever it is.
        return error
    raise AssertionError("nothing was raised")


def bill() -> None:
    """Fail with a payload in the message."""
    raise LookupError(SECRET)


def test_a_failure_is_called_by_its_class_and_line() -> None:
    """The innermost frame is the handler's own: one line says it; the message is nowhere."""
    error = raised(bill)
    assert reason_of(error) == "LookupError"
    line = bill.__code__.co_firstlineno + 2
    first, last = place_of(error).split(" > ")
    assert first.startswith("test_reasons.py:")
    assert last == f"test_reasons.py:{line} in bill"
    assert SECRET not in place_of(error)


def test_a_failure_inside_a_library_names_both_lines() -> None:
    """The user's line, and where the library raised."""
    error = raised(lambda: json.loads("{" + SECRET))
    first, last = place_of(error).split(" > ")
    assert first.startswith("test_reasons.py:")
    assert "decoder.py:" in last
    assert SECRET not in place_of(error)


def test_our_own_frames_are_passed_over() -> None:
    """What is raised inside shardline for the user's call is told by the user's line and ours."""
    error = raised(lambda: decode(b"no json", JsonCodec(dict)))
    assert reason_of(error) == "DecodeFailure"
    assert place_of(error).split(" > ")[0].startswith("test_reasons.py:")


def test_what_has_no_line_has_no_place() -> None:
    """An error that was never raised here; one that came from a process brings its own."""
    assert place_of(LookupError(SECRET)) == ""
    failed = HandlerProcessFailed("LookupError", "billing.py:42 in bill", ended=False)
    assert (reason_of(failed), place_of(failed)) == ("LookupError", "billing.py:42 in bill")


def test_a_services_error_is_called_by_its_code() -> None:
    """The code says more than the class."""
    assert reason_of(Throttled("ProvisionedThroughputExceededException", "slow down")) == (
        "ProvisionedThroughputExceededException"
    )
