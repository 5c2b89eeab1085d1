"""Sphinx configuration.

DOCS_VERSION names the version that a published build is of; DOCS_ONLINE=1 links the types of numpy and others to their
documentation, for which inventories are fetched from the network.
"""

import os

import filebackedarray

project = "filebackedarray"
author = "The filebackedarray developers"
copyright = author
release = filebackedarray.__version__
version = os.environ.get("DOCS_VERSION", release)
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"filebackedarray {version}"
html_static_path = ["_static"]
html_js_files = [("versions.js", {"defer": "defer"})]
html_css_files = ["site.css"]
html_theme_options = {
    "source_repository": "https://github.com/BiocPy/FileBackedArray/",
    "source_branch": "master",
    "source_directory": "docs/",
}
# Prompts of doctests are not copied, nor what they print.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autoclass_content = "both"
myst_heading_anchors = 3

if os.environ.get("DOCS_ONLINE") == "1":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
        "dask": ("https://docs.dask.org/en/stable", None),
        "delayedarray": ("https://biocpy.github.io/delayedarray", None),
    }

# `make links` asks every page that these lead to; without it only what is here is looked at.
linkcheck_anchors = False
linkcheck_timeout = 20
linkcheck_retries = 2
