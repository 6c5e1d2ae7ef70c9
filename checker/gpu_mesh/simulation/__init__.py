"""Shows what would follow if nodes behaved as a trace says."""
