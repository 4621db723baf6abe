"""Tables that hold the core: a row is a situation, readable as given · now · expected · why."""
