"""What every test area shares: the Hypothesis profiles.

Timing never decides a test, so no profile has a deadline. `make check` asks for the quick profile, by
HYPOTHESIS_PROFILE.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("full", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("full"), max_examples=25)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "full"))
