"""The parts of a mesh as processes on this machine: a real Envoy, the user service behind it, `rls` beside it."""
