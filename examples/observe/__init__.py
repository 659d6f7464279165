"""What watches `rls`, running on this machine: Prometheus, Alertmanager and Jaeger beside a loaded rls with Envoy."""
