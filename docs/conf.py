"""Sphinx configuration."""

import filebackedarray

project = "filebackedarray"
author = "The filebackedarray developers"
release = filebackedarray.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autoclass_content = "both"
myst_heading_anchors = 3
