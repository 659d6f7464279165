"""Looks at a server, its Redis and its Envoy from outside, and says what is wrong and what to do: `rls doctor`."""
