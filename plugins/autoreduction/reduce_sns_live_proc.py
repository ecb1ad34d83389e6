# A chunk of live data at SNS, installed as reduce_<INST>_live_proc.py: the spectra in `input` -> |Q| and energy
# transfer -> a cut named `output`, to which the service adds the next ones (AccumulationMethod Add). `input` has to be
# in energy transfer: put the lines that reduce a chunk of the instrument in front. All chunks need the same limits.
binning = ["|Q|,0,8,80", "DeltaE,-10,50,120"]

from mantid_insgan.mantid_support.live import bin_chunk  # noqa: E402

bin_chunk(input, output, binning)  # noqa: F821  (both names are given by the service)
