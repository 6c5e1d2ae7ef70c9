"""Runs a playbook on a host, and judges what came of it."""
