"""The mesh without Kubernetes: what istiod makes of the manifests in `istio/`, run by real Envoys on this machine."""
