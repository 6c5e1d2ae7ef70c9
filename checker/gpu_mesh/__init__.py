"""Watch Ollama nodes, name what is wrong with one, repair it, prove the repair, tell the right person."""

__version__ = "0.1.0"
