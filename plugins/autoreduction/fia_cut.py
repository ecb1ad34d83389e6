# A crystal on a chopper spectrometer, after its reduction and BinMD, MDNorm or ConvertToMD: a file of SaveMD (a cut, or
# events in HKL that are binned here) -> ApplyResolutionGAN -> a file for LoadMD. The lines below that begin with a name
# may be rewritten, each as `name = value`. The unit cell and Ei are taken from the file where they stay None.
runno = 0
ei = None
instrument = "MERLIN"
chopper = "G"
frequency = 400.0
lattice = None
direction = "remove-resolution"
width_factor = 1.0
sharpen = 3.0
to = None
model = None
binning = ["[H,0,0],-2,2,80", "[0,K,0],-2,2,80", "[0,0,L],-0.1,0.1,1", "DeltaE,0,80,80"]
input_files = "/output/MER{runno}*.nxs"
output_folder = "/output"
packages = "/extras/mantid-insgan"

import sys  # noqa: E402

sys.path.append(packages)  # where `pip install --target` put this package and what the image lacks

from mantid_insgan.core.options import ApplyOptions  # noqa: E402
from mantid_insgan.mantid_support.autoreduction import ENDINGS, with_mantid  # noqa: E402
from mantid_insgan.mantid_support.batch import Batch  # noqa: E402

options = ApplyOptions(
    direction=direction,
    model=model,
    instrument=instrument,
    chopper=chopper,
    frequency=frequency,
    ei=ei,
    lattice=lattice,
    width_factor=width_factor,
    sharpen=sharpen,
    to=to,
    device="cpu",
)
batch = Batch(direction)
for file in batch.files(input_files, runno=runno):
    if not file.stem.endswith(tuple(ENDINGS.values())):  # results of an earlier run lie there too
        batch.run(with_mantid, file, output_folder, options, binning)
output = [path.name for path in batch.finished()]
