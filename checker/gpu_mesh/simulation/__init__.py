"""Tells what would follow if nodes showed what a trace says."""
