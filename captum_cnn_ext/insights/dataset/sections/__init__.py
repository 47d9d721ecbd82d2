"""What the page on a data set shows, one module a section: KEY, TITLE and build(context)."""
