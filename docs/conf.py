"""Sphinx settings of the guide: `make docs` builds it, the service shows it at `/guide`."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

project = "saf"
author = "the authors of the SAF service"
html_title = "saf: training spiking networks"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "extension.docstrings",
    "extension.generated",
    "extension.mathml",
    "extension.policy",
]
exclude_patterns = ["_build", "monitoring", "extension", "*.ipynb"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
default_role = "code"  # docstrings write `names` as Markdown does

html_theme = "furo"
html_math_renderer = "mathml"
html_static_path = ["_static"]
templates_path = ["_templates"]
html_css_files = ["guide.css"]
html_favicon = "_static/icon.svg"
html_copy_source = False
html_domain_indices = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#1d5bbf",
        "color-brand-content": "#1d5bbf",
        "color-brand-visited": "#1d5bbf",
        "font-stack": "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif",
    },
    "dark_css_variables": {
        "color-brand-primary": "#7fb0ff",
        "color-brand-content": "#7fb0ff",
        "color-brand-visited": "#7fb0ff",
    },
}
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/service.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
