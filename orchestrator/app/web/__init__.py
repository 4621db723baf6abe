"""Parts of the dashboard's server: the request guard, the token and its visits, actions, the list, live logs."""
