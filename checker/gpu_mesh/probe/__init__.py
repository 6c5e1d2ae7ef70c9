"""Probes nodes and canaries within hard limits of time and size, and returns facts, never judgements."""
