"""What recovery would do about a node, when, and why not."""
