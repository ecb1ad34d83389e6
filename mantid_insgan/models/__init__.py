"""Models of S(Q,E) by their modes: spin waves, phonons."""
