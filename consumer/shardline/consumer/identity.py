"""What tells one worker from another: its id, unique unless somebody insists otherwise."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

__all__ = ["unique_worker_id"]


def unique_worker_id(random: Random) -> str:
    """Return ``host:process:chance``.

    A bare process id is 1 in every container, and two workers of one id both believe that they own each lease.
    """
    return f"{socket.gethostname()}:{os.getpid()}:{random.getrandbits(48):012x}"
