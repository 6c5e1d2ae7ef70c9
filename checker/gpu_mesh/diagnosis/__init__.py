"""From an observation to a cause, and from causes to a status and to uptime figures."""
