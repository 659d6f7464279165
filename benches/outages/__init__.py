"""What requests get while pods of `rls` hang, vanish, restart, come, go, or want for CPU: `make outages`."""
