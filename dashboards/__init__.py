"""The Grafana dashboards of `rls`, as code: `make dashboards` writes their JSON to k8s/components/dashboards."""
