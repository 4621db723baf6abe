"""Pages for a browser: templates, styles and charts, and what makes one document of them."""
