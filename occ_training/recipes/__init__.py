"""One training recipe per system."""
