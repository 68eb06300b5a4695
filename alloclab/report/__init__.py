"""Reports of a comparison: a table for the terminal, Markdown, figures. JSON is :mod:`alloclab.result`."""
