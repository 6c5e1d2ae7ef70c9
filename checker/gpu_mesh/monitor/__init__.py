"""Checks the mesh once, and keeps the checks running."""
