"""Which alerts people have muted, and until when: silences and maintenance windows."""
