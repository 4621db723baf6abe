"""The process that `relay ask` starts: loads a model on this machine and answers questions token by token."""
