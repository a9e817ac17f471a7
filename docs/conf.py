"""Sphinx's settings to build the page for Parsl's user guide alone, with what it refers to; "make docs" does so.

Where they matter to the page they are those of Parsl's own documentation, so that it builds there as it does here.
"""
import parsl

project = "GlobusComputeMultiExecutor"
version = release = parsl.__version__
language = "en"

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
autosummary_generate = True
autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_preserve_defaults = True

default_role = "any"
html_theme = "sphinx_rtd_theme"
html_show_copyright = False
exclude_patterns = ["_build", "tests"]
