"""What all rooms share: spectra, the facts of a run, options, files and workers."""
