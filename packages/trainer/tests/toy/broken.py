"""Cannot be imported."""

raise KeyError("a name that there is not")
