"""Decides which of several monitors leads, and what becomes of what they noted apart."""
