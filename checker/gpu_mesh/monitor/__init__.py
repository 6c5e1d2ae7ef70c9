"""One run of the check, and what keeps it running."""
