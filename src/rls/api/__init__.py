"""What is served: the rate-limit service, health, probes, metrics, `/json` and the admin address."""
