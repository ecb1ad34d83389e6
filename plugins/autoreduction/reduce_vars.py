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
    "sharpen": 3.0,
    "to": "",
    "model": "",
    "mantid": True,
    "scan": "",
    "lattice": "3.89,3.89,12.7,90,90,90",
    "u": "1,0,0",
    "v": "0,1,0",
    "psi_offset": 0.0,
}

variable_help = {
    "standard_vars": {
        "direction": "remove-resolution (from data) or add-resolution (to a simulation); experiment-to-simulation, "
        "simulation-to-experiment: with a background",
        "instrument": "spectrometer; empty: from the file",
        "chopper": "chopper package; empty: from the file",
        "frequency": "chopper frequency in Hz; 0: from the file",
        "binning": "dimensions of the cut as BinMD takes them; without limits over all that was measured (powders). "
        "For a crystal: [H,0,0],-2,2,80 and so on, three directions and DeltaE",
    },
    "advanced_vars": {
        "width_factor": "factor on the calculated widths, such as one from a vanadium run",
        "sharpen": "how many times finer the resolution of the result is than that of the data; 0: none at all",
        "to": "setting whose resolution the result is brought to, such as Ei=38,chopper=G,frequency=600; empty: none",
        "model": "name of a bundled model or an ONNX file; empty: the bundled one for the direction",
        "mantid": "whether Mantid makes the cut; without it this package does",
        "scan": "a crystal: which nxspe files in the output folder are its scan, such as MER*_Ei62.00meV*.nxspe; "
        "empty: a powder",
        "lattice": "unit cell of the crystal, Angstrom and degrees",
        "u": "h,k,l along the beam at psi = 0",
        "v": "h,k,l of another direction in the horizontal plane",
        "psi_offset": "added to the psi of each file, degrees",
    },
}
