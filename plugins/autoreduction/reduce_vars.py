"""What the web page of the autoreduction shows and may change for reduce.py."""

standard_vars = {
    "direction": "remove-resolution",
    "instrument": "MERLIN",
    "chopper": "G",
    "frequency": 600.0,
    "binning": ["|Q|,80", "DeltaE,110"],
}

advanced_vars = {
    "width_factor": 1.0,
    "model": "",
    "mantid": True,
}

variable_help = {
    "standard_vars": {
        "direction": "remove-resolution (from data) or add-resolution (to a simulation)",
        "instrument": "spectrometer; empty: from the file",
        "chopper": "chopper package; empty: from the file",
        "frequency": "chopper frequency in Hz; 0: from the file",
        "binning": "dimensions of the cut as BinMD takes them; without limits over all that was measured",
    },
    "advanced_vars": {
        "width_factor": "factor on the calculated widths, such as one from a vanadium run",
        "model": "name of a bundled model or an ONNX file; empty: the bundled one for the direction",
        "mantid": "whether Mantid makes the cut; without it this package does",
    },
}
