"""Whom people have muted, and until when."""
