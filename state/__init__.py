"""What relay knows, kept in one SQLite file: facts, the rows they fold to, and the table of legal transitions."""
