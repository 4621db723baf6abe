"""Facts about a run, one frozen class per kind. Pure; `state.machine` defines their effect."""
