# A powder on a chopper spectrometer, after its reduction: nxspe files -> |Q| and energy transfer -> ApplyResolutionGAN
# -> files for LoadMD. The lines below that begin with a name may be rewritten, each as `name = value`.
runno = 40874
ei = [120.0, 62.0, 38.0, 25.0]
instrument = "MERLIN"
chopper = "G"
frequency = 600.0
direction = "remove-resolution"
width_factor = 1.0
sharpen = 3.0
to = None
model = None
binning = ["|Q|,80", "DeltaE,110"]
input_files = "/output/MER{runno}_Ei{ei:.2f}meV*.nxspe"
output_folder = "/output"
packages = "/extras/mantid-insgan"

import sys  # noqa: E402

sys.path.append(packages)  # where `pip install --target` put this package and what the image lacks

from mantid_insgan.core.options import ApplyOptions  # noqa: E402
from mantid_insgan.mantid_support.autoreduction import with_mantid  # noqa: E402
from mantid_insgan.mantid_support.batch import Batch  # noqa: E402

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
batch = Batch(direction)
for energy in ei if isinstance(ei, list) else [ei]:
    for file in batch.files(input_files, runno=runno, ei=energy):
        batch.run(with_mantid, file, output_folder, options, binning)
output = [path.name for path in batch.finished()]
