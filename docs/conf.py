"""Sphinx configuration: MyST pages, furo, a gallery that runs; nothing is fetched while building."""

import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import firstlight
import reference

MATH = "mathml" if find_spec("latex2mathml") else "sphinx.ext.mathjax"

reference.write(HERE / "reference")

project = "firstlight"
author = "the firstlight authors"
copyright = "the firstlight authors"
version = release = firstlight.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    "live_report",
    # formulas need no script where they can be turned into MathML, else the reader's browser fetches MathJax
    MATH,
    "plain_bars",
    "verdict_catalogue",
    "study_pictures",
    "recipe_catalogue",
    "command_help",
    "benchmark_tables",
]
exclude_patterns = ["_build", "examples", "gallery/*.md5", "gallery/*.ipynb", "gallery/*.zip"]
suppress_warnings = ["config.cache"]

myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "show-inheritance": True}

html_math_renderer = MATH.rpartition(".")[2]
html_theme = "furo"
html_title = f"firstlight {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5c99", "color-brand-content": "#0b5c99"},
    "dark_css_variables": {"color-brand-primary": "#7cc0f4", "color-brand-content": "#7cc0f4"},
}

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "abort_on_example_error": True,
    "capture_repr": ("_repr_html_", "__repr__"),
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 5,
    "within_subsection_order": "FileNameSortKey",
}
