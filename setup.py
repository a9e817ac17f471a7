"""Installs the executor alone, into the ``parsl`` package of an installed, unpatched Parsl release.

Use ``pip install .``. To work on the executor, use ``make fork`` instead: an editable install of this folder could not work, since
Python imports ``parsl`` from one place.
"""
import sys
from pathlib import Path

from setuptools import find_namespace_packages, setup

if {'develop', 'editable_wheel'} & set(sys.argv):
    sys.exit('parsl-globus-compute-multi cannot be installed editable, since its files lie in the package of another project (parsl): '
             'use "pip install .", or, to work on it, "make fork".')


def requirements(name):
    """The requirements in a file beside this one."""
    lines = Path(__file__).with_name(name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


setup(
    name='parsl-globus-compute-multi',
    version='0.1.0',
    description='A Parsl executor that runs a workflow over many Globus Compute endpoints',
    license='Apache-2.0',
    python_requires='>=3.10',
    install_requires=requirements('requirements.txt'),
    extras_require={'view': requirements('view-requirements.txt')},
    # parsl itself, and parsl.executors, belong to Parsl: only what is new is installed, and removed again.
    packages=find_namespace_packages(include=['parsl.executors.globus_compute_multi', 'parsl.executors.globus_compute_multi.*']),
)
