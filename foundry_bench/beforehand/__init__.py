"""What is checked before any work: what people write, devices, seeds, and the places that results are written to."""
