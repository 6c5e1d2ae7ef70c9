"""This host: folders, the log."""
