"""A stand-in Ollama with faults, for the demo and the tests."""
