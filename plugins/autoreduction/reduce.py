"""After the reduction of a run: its nxspe files, those of the scan of a crystal up to it, or the file of SaveMD that is
given, with the resolution in or out.

The autoreduction calls ``main(input_file=..., output_dir=...)``; an exception is a failure.
"""

import reduce_vars as web_var


def main(input_file, output_dir):
    """Write a result for each reduced file of the run, or for the scan of a crystal, into `output_dir`."""
    from mantid_insgan.core.options import ApplyOptions
    from mantid_insgan.io.crystal import Setting
    from mantid_insgan.mantid_support.batch import results_of_run

    values = {**web_var.standard_vars, **web_var.advanced_vars}
    binning, mantid, scan = (values.pop(name) for name in ("binning", "mantid", "scan"))
    mounting = [values.pop(name) for name in ("lattice", "u", "v", "psi_offset")]
    sharpen = values.pop("sharpen")  # 0 has a meaning
    options = ApplyOptions(device="cpu", sharpen=sharpen, **{name: value or None for name, value in values.items()})
    setting = Setting.parsed(*mounting) if scan else None
    results_of_run(input_file, output_dir, options, binning, mantid=mantid, scan=scan, setting=setting)
