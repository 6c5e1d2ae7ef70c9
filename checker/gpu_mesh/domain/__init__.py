"""Values only: what the mesh, an observation, a cause, an alert and the state are. Nothing here decides."""
