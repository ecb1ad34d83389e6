"""After the reduction of a run at SNS: its nxspe files, or a scan of a crystal, with the resolution in or out.

The post-processing agent runs it as ``reduce_<INST>.py input_file output_dir/`` in the environment named below, and
takes any text on standard error for a failure; only the line of an error goes there, the rest to standard output.
There is one script for each instrument, so `reduction` names the script that reduces the run, which is run first.
"""

CONDA_ENV = "mantid-insgan"
reduction = ""
reduced = "*{runno}*.nxspe"
instrument = "SEQUOIA"
chopper = "High-Flux"
frequency = 300.0
direction = "remove-resolution"
sharpen = 3.0
to = ""
width_factor = 1.0
model = ""
mantid = True
binning = ["|Q|,80", "DeltaE,110"]
scan = ""
lattice = "4,4,6,90,90,90"
u = "1,0,0"
v = "0,1,0"
psi_offset = 0.0

import subprocess  # noqa: E402
import sys  # noqa: E402

if reduction:
    subprocess.run([sys.executable, reduction, *sys.argv[1:]], check=True)

from mantid_insgan.mantid_support.agent import errors_alone  # noqa: E402

errors_alone()

from mantid_insgan.core.options import ApplyOptions  # noqa: E402
from mantid_insgan.io.crystal import Setting  # noqa: E402
from mantid_insgan.mantid_support.batch import results_of_run  # noqa: E402

input_file, output_dir = sys.argv[1:]
options = ApplyOptions(
    direction=direction,
    model=model or None,
    instrument=instrument or None,
    chopper=chopper or None,
    frequency=frequency or None,
    width_factor=width_factor,
    sharpen=sharpen,
    to=to or None,
    device="cpu",
)
setting = Setting.parsed(lattice, u, v, psi_offset) if scan else None
for path in results_of_run(
    input_file, output_dir, options, binning, mantid=mantid, reduced=reduced, scan=scan, setting=setting
):
    print(f"wrote {path}")
