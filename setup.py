"""Metadata and layout of mantid-insgan: top-level plugins/ and models/ are installed inside the package."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def version() -> str:
    """``__version__`` of the package, read as text: an import would need the dependencies."""
    text = (HERE / "mantid_insgan" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)[1]


setup(
    name="mantid-insgan",
    version=version(),
    description="Resolution of neutron spectrometers in and out of S(Q,E), beside and inside Mantid",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The mantid-insgan developers",
    license_expression="GPL-3.0-or-later",
    license_files=["LICENSE"],
    keywords=["neutron scattering", "spectroscopy", "resolution", "deconvolution", "Mantid", "spin waves", "GAN"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Physics",
    ],
    python_requires=">=3.11",
    install_requires=[
        *("numpy>=2.0", "h5py>=3.11", "pint>=0.24", "pydantic>=2", "resins>=0.1,<0.2", "typer>=0.12", "rich>=13.8"),
    ],
    extras_require={
        # cpu and gpu install the same module, onnxruntime, and overwrite each other: choose one of them.
        # onnx checks models that are not bundled before they are opened.
        "cpu": ["onnxruntime>=1.20", "onnx>=1.17"],
        "gpu": ["onnxruntime-gpu>=1.20", "onnx>=1.17"],
        "train": [
            "torch>=2.9",
            "lightning-fabric>=2.5",
            "safetensors",
            "onnx>=1.17",
            "onnxscript",
            "scikit-image>=0.25",
        ],
        # A pre-release: another version may have another interface.
        # A model's file: PyYAML reads it, ASE the CIF that it may name, asteval works out ties.
        "spinw": ["pyspinw==1.1.0b2", "periodictable>=2", "scipy>=1.15", "PyYAML", "ase>=3.26", "asteval>=1.0"],
        # One-phonon scattering as a model; PyYAML reads phonopy's files.
        "phonons": ["euphonic>=2,<3", "PyYAML", "periodictable>=2", "scipy>=1.15", "spglib>=2.1", "asteval>=1.0"],
        # numba compiles the kernel that fits call; without it the same answer takes longer.
        "fit": ["scipy>=1.13", "lmfit>=1.3", "PyYAML", "numba>=0.61"],
        # Draws from the posterior of a fit, asymmetric errors, and the evidence for rival models.
        "posterior": ["bumps>=1.0", "iminuit>=2.30", "dynesty>=3.0"],
        "report": ["matplotlib>=3.9", "jinja2>=3.1"],
        # Files of Horace 4; pixels are read in parts below its public names, so that another year may need a change.
        "sqw": ["scippneutron>=26.7,<27"],
        # make-pairs on several machines; dask-jobqueue starts workers under Slurm.
        "dask": ["dask[distributed]>=2025.1", "dask-jobqueue>=0.9"],
        # docs/examples/README.md names two more packages, which are installed without their dependencies, and abTEM,
        # which has many: widgets for notebooks among them.
        "examples": ["gemmi>=0.7", "scipy>=1.13"],
        # setuptools, because the tests build a wheel and look inside.
        "test": ["pytest>=8", "hypothesis>=6", "PyYAML", "ruff", "import-linter>=2.17", "setuptools>=77"],
        "docs": ["sphinx>=8", "myst-parser>=4", "furo"],
    },
    packages=[*find_packages(include=["mantid_insgan*"]), "mantid_insgan.plugins", "mantid_insgan.bundled_models"],
    package_dir={"mantid_insgan.plugins": "plugins", "mantid_insgan.bundled_models": "models"},
    package_data={
        "mantid_insgan.plugins": ["README.md", "**/*.py", "**/*.template"],
        "mantid_insgan.bundled_models": ["README.md", "**/*.onnx", "**/*.json"],
        "mantid_insgan": ["**/*.toml", "**/*.json", "report/*.html", "demo/data/*.nxs"],
    },
    entry_points={"console_scripts": ["insgan = mantid_insgan.cli.main:main"]},
    zip_safe=False,
)
