"""How values are put into words: durations, times, harmless lines, tables."""
