"""Runs a playbook on a host and evaluates its result."""
