# The sum of all chunks so far at SNS, installed as reduce_<INST>_live_post_proc.py: the sum in `input` of the cuts
# that reduce_<INST>_live_proc.py makes -> ApplyResolutionGAN -> a workspace named `output`. The resolution cannot be
# removed chunk by chunk, because a network is not linear.
instrument = "SEQUOIA"
chopper = "High-Flux"
frequency = 300.0
direction = "remove-resolution"
sharpen = 3.0
model = None

from mantid_insgan.core.options import ApplyOptions  # noqa: E402
from mantid_insgan.mantid_support.live import correct_accumulated  # noqa: E402

options = ApplyOptions(
    direction=direction,
    model=model,
    instrument=instrument,
    chopper=chopper,
    frequency=frequency,
    sharpen=sharpen,
    device="cpu",
)
correct_accumulated(input, output, options)  # noqa: F821  (both names are given by the service)
