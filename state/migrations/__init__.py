"""How a database of an earlier relay becomes one of this relay: one numbered file a change, forward only."""
