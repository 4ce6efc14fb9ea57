"""The only line that reads the wall clock.

Everything else takes ``now`` as an argument, so a year of billing can be told in a test. Leases do
not use this clock but the database's, because the hosts that compete for a lease share only that.
"""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Now, timezone-aware, in UTC."""
    return datetime.now(UTC)
