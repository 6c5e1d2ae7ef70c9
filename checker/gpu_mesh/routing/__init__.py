"""Which node a request is sent to."""
