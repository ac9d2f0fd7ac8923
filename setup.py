"""Installation of srkd-plugin. Tool settings are in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r"__version__ = \"(.+?)\"", (HERE / "srkd_plugin/__init__.py").read_text("utf-8")).group(1)

EXTRAS = {
    # photographs (scikit-learn, matplotlib; scikit-image comes with BasicSR) and all pictures: quickstart, run_table.py
    "demo": ["scikit-learn>=1.0", "matplotlib>=3.5"],
    "test": ["pytest>=7.0", "pytest-timeout>=2.1", "pytest-xdist>=3.0", "hypothesis>=6.0", "ruff>=0.6"],
    # the documentation is plain Markdown; tests/test_docs.py checks its links and examples
    "docs": ["pytest>=7.0"],
}

setup(
    name="srkd-plugin",
    version=VERSION,
    description="Knowledge distillation for super-resolution, as a plugin for BasicSR",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    # Said although it is the default: with it, an editable install is a plain path entry; without it, setuptools puts
    # an import finder there that costs every Python process of the environment about 15 ms at start-up.
    package_dir={"": "."},
    packages=find_packages(include=["srkd_plugin", "srkd_plugin.*"]),
    python_requires=">=3.9,<3.13",  # BasicSR 1.4.2 cannot be built on 3.13
    install_requires=[
        "basicsr>=1.4.2",
        "torch>=2.0",
        "opencv-python>=4.5",
        "pyyaml>=5.4",
        "lmdb>=1.0",
        "numpy>=1.20",
        "pillow>=8.0",
        "scipy>=1.6",
        "tqdm>=4.60",
        "pydantic>=2.5",
        "safetensors>=0.4",  # teachers and students come in this format, too
    ],
    extras_require=EXTRAS,
    # torch imports this group at the end of `import torch` (torch >= 2.5). What stands behind it only installs an
    # import hook that waits for basicsr; see docs/architecture.md.
    entry_points={"torch.backends": ["srkd_plugin = srkd_plugin._autoload:install"]},
)
