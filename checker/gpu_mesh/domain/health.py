"""Defines the verdict of one check, and the status of a node. Values only."""

from enum import StrEnum


class Status(StrEnum):
    """The health of a node, as its last checks together show it."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    OFFLINE = "offline"

    @property
    def icon(self) -> str:
        """The sign shown beside it."""
        return {"unknown": "⚪", "healthy": "🟢", "degraded": "🟡", "unhealthy": "🔴", "offline": "⚫"}[
            self.value
        ]


class Verdict(StrEnum):
    """The result of one check. Only ``failed`` counts towards the thresholds."""

    OK = "ok"
    IMPAIRED = "impaired"
    FAILED = "failed"
