"""The values that all rooms share: mesh, observation, cause, alert, state. Nothing here decides anything."""
