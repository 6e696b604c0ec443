"""Data sets written in their real layouts, so that converters are proven on what they will meet."""
