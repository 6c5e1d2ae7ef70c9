"""Asks one node, within hard limits of time and size, and returns facts."""
