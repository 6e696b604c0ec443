"""Text to vectors; needed by teachers and by open vocabularies, never by a closed-class network."""
