"""After the reduction of a run: its nxspe files, those of the scan of a crystal up to it, or the file of SaveMD that is
given, with the resolution in or out.

The autoreduction calls ``main(input_file=..., output_dir=...)``; an exception is a failure.
"""

import reduce_vars as web_var


def main(input_file, output_dir):
    """Write a result for each reduced file of the run, or for the scan of a crystal, into `output_dir`."""
    from mantid_insgan.core.options import ApplyOptions
    from mantid_insgan.io.crystal import Setting
    from mantid_insgan.mantid_support.autoreduction import files_of_pattern, reduced_of, with_mantid, without_mantid

    values = {**web_var.standard_vars, **web_var.advanced_vars}
    binning, mantid, scan = (values.pop(name) for name in ("binning", "mantid", "scan"))
    mounting = [values.pop(name) for name in ("lattice", "u", "v", "psi_offset")]
    sharpen = values.pop("sharpen")  # 0 has a meaning
    options = ApplyOptions(device="cpu", sharpen=sharpen, **{name: value or None for name, value in values.items()})
    if scan:
        parts = [files_of_pattern(f"{output_dir}/{scan}")]
    else:
        parts = [[file] for file in reduced_of(input_file, output_dir)]
    for files in parts:
        print(f"{files[0].name} and {len(files) - 1} more: {options.direction}", flush=True)
        job = with_mantid if mantid else without_mantid
        job(files, output_dir, options, binning, Setting.parsed(*mounting) if scan else None)
