"""What every test area shares: the Hypothesis profiles, and a way out of coverage's tracing.

Timing never decides a test, so no profile has a deadline. `make check` asks for the quick profile, by
HYPOTHESIS_PROFILE.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile("full", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("full"), max_examples=25)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "full"))

# What a shell runs in the background ignores SIGINT, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _tracing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stop coverage, here and in processes to come, for a test marked `untraced`.

    Tracing makes tight loops three to ten times slower, and its own memory counts where a test measures memory.
    """
    tracer = Coverage.current() if request.node.get_closest_marker("untraced") else None
    if tracer is None:
        yield
        return
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    tracer.stop()
    try:
        yield
    finally:
        tracer.start()
