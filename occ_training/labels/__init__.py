"""Teachers, and the worker that writes their answers into label layers: bags beside a bag."""
