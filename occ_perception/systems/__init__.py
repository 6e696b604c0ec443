"""The five published systems; each adds to the shared blocks only what its paper adds."""
