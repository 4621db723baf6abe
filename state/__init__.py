"""relay's state in one SQLite file: facts, the rows they fold to, and the tables of legal transitions."""
