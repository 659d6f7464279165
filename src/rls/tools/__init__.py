"""What people use beside a server: they examine one, test rules, play logs, and compare rules with what Envoy sends."""
