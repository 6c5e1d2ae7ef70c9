"""What the program uses of this host: folders, the log, systemd and its journal, the host's identity."""
