"""HTML pages: templates, styles, charts, and their rendering."""
