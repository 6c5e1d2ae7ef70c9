"""Which alerts there are, and which are held back."""
