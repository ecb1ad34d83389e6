# The data of a run that is still being measured, for the live-data service of ISIS: the cut that the reduction of the
# instrument makes (an MDHistoWorkspace in memory, or the newest file of it) -> ApplyResolutionGAN -> a workspace in
# memory and a file for LoadMD. The service calls execute() every few minutes. All names are inside execute(), because a
# service that runs this text as a string may not keep others. To put it behind the reduction of an instrument, append
# this function to its live_data.py under another name and call it at the end of that file's execute().


def execute():
    cut = "MER*_mdhisto"  # of the workspace, or of the file without .nxs
    integrate = {"[0,0,L]": (-0.5, 0.5)}  # four open axes of 100 bins would take longer than the service waits
    instrument = "MERLIN"
    chopper = "G"
    frequency = 400.0
    incident_energy = None  # None: from the logs of the cut
    lattice = None
    direction = "remove-resolution"
    sharpen = 3.0
    model = None
    output_folder = "/output"
    packages = "/extras/mantid-insgan"

    import sys

    if packages not in sys.path:
        sys.path.append(packages)  # where `pip install --target` put this package and what the image lacks

    from mantid_insgan.core.options import ApplyOptions
    from mantid_insgan.mantid_support.live import live_result

    options = ApplyOptions(
        direction=direction,
        model=model,
        instrument=instrument,
        chopper=chopper,
        frequency=frequency,
        ei=incident_energy,
        lattice=lattice,
        sharpen=sharpen,
        device="cpu",
    )
    return live_result(cut, output_folder, options, integrate)
