"""Watches Ollama nodes, names what is wrong, repairs it, verifies the repair and alerts the right person."""

__version__ = "0.1.0"
