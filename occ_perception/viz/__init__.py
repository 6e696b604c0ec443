"""Pictures for people: what went in, what came out, the right way round, with legend and scale."""
