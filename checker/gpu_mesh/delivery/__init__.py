"""Sends alerts. The only room that reads the alert credentials."""
