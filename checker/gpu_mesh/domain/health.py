"""What a check says of a node, and what a node is said to be. Values only."""

from enum import StrEnum


class Status(StrEnum):
    """What a node is said to be."""

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
    """What a check says of a node: only ``failed`` counts towards the thresholds."""

    OK = "ok"
    IMPAIRED = "impaired"
    FAILED = "failed"
