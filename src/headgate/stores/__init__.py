"""Where rows are kept: one module or package for each kind of store."""
