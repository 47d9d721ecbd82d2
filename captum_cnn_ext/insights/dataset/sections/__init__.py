"""What the page on a data set shows, one module a section: a `Section` of (audited, report)."""
