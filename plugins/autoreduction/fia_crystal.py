# A crystal on a chopper spectrometer, after the reduction of a run of its scan: the nxspe files of all runs so far ->
# h, k, l and energy transfer -> ApplyResolutionGAN -> a file for LoadMD. The lines below that begin with a name may be
# rewritten, each as `name = value`. The scan goes from first_run to runno; runs that are not reduced are left out. With
# mantid = False this package does it all on files.
first_run = 40874
runno = 40934
ei = 62.0
instrument = "MERLIN"
chopper = "G"
frequency = 400.0
lattice = "3.89,3.89,12.7,90,90,90"
u = [1.0, 0.0, 0.0]
v = [0.0, 1.0, 0.0]
psi_offset = 0.0
direction = "remove-resolution"
width_factor = 1.0
sharpen = 3.0
to = None
model = None
binning = ["[H,0,0],-2,2,80", "[0,K,0],-2,2,80", "[0,0,L],-0.5,0.5,1", "DeltaE,4,56,52"]
mantid = True
input_files = "/output/MER{runno}_Ei{ei:.2f}meV_One2One.nxspe"
output_folder = "/output"
packages = "/extras/mantid-insgan"

import sys  # noqa: E402

sys.path.append(packages)  # where `pip install --target` put this package and what the image lacks

from mantid_insgan.core.options import ApplyOptions  # noqa: E402
from mantid_insgan.io.crystal import Setting  # noqa: E402
from mantid_insgan.mantid_support.autoreduction import cut_of, files_of_scan, with_mantid, without_mantid  # noqa: E402

options = ApplyOptions(
    direction=direction,
    model=model,
    instrument=instrument,
    chopper=chopper,
    frequency=frequency,
    width_factor=width_factor,
    sharpen=sharpen,
    to=to,
    device="cpu",
)
output = []
files = files_of_scan(input_files, first_run, runno, ei=ei)
print(f"{files[0].name} and {len(files) - 1} more: {direction}", flush=True)
if mantid:
    output.append(with_mantid(files, output_folder, options, binning, Setting.parsed(lattice, u, v, psi_offset)).name)
else:
    output.append(
        without_mantid(files, output_folder, options, binning, Setting.parsed(lattice, u, v, psi_offset)).name
    )
    output.append(cut_of(files[0], output_folder).name)
