"""`relay init`: writes a first pipeline by shortening an example and filling in a few answers."""
