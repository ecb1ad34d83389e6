"""A square-lattice antiferromagnet in YAML, and the facts of a run, for the tests of the algorithms in Mantid."""

FACTS = {"Instrument": "MAPS", "ChopperPackage": "S", "ChopperFrequency": 400.0, "IncidentEnergy": 200.0}
#: The same as options of a job.
OPTIONS = {"instrument": "MAPS", "chopper": "S", "frequency": 400.0, "ei": 200.0}

_MODEL = """
name: square
lattice: {{a: 3.89, c: 12.7}}
cell: [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]
sites:
  - {{at: [0, 0, 0], spin: [0, 0, 1], length: 1, ion: Ni2+}}
  - {{at: [0, 1, 0], spin: [0, 0, -1], length: 1, ion: Ni2+}}
bonds:
  - {{vectors: [[1, 0, 0], [0, 1, 0]], exchange: J}}
{bonds}anisotropy: {{D: [0, 0, 1]}}
parameters: {{{parameters}}}
"""


def square(parameters: str, bonds: str = "") -> str:
    """The model with these parameters, and with these lines of more bonds."""
    return _MODEL.format(parameters=parameters, bonds=bonds)
