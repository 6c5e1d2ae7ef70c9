"""From an Ansible inventory to a resolved mesh, or to every mistake in it."""
