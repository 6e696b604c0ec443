"""What `occ` does: one module per command, each with `main(arguments) -> int`."""
