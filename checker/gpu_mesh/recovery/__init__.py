"""Carries repairs out: claims, acts, verifies, records."""
