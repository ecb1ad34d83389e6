"""After the reduction of a run: its nxspe files, or the file of SaveMD that is given, with the resolution in or out.

The autoreduction calls ``main(input_file=..., output_dir=...)``; an exception is a failure.
"""

import reduce_vars as web_var


def main(input_file, output_dir):
    """Write a result for each reduced file of the run into `output_dir`."""
    from mantid_insgan.autoreduction import reduced_of, with_mantid, without_mantid
    from mantid_insgan.options import ApplyOptions

    values = {**web_var.standard_vars, **web_var.advanced_vars}
    binning, mantid = values.pop("binning"), values.pop("mantid")
    options = ApplyOptions(device="cpu", **{name: value or None for name, value in values.items()})
    for file in reduced_of(input_file, output_dir):
        print(f"{file.name}: {options.direction}", flush=True)
        if mantid:
            with_mantid(file, output_dir, options, binning)
        else:
            without_mantid(file, output_dir, options)
