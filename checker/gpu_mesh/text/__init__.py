"""Turns values into text for people: durations, times, sanitized lines, tables."""
