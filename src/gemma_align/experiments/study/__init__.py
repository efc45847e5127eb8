"""A study: methods x tasks x seeds at equal budget, each cell a run folder, and the report that answers from them."""
