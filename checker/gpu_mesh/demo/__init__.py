"""A mesh on loopback that fails and is repaired before your eyes."""
