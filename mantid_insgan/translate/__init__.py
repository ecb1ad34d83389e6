"""A trained model applied to spectra and files."""
