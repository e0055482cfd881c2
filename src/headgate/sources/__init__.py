"""Where rows come from: the kind in a contract is the name of the module here."""
