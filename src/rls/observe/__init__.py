"""How a server is watched: subscribers of events, one a file."""
