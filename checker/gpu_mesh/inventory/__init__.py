"""Turns an Ansible inventory into a resolved mesh, or into a list of all mistakes in it."""
