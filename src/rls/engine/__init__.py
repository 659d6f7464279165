"""The middle: the limiter, its failure policies and refunds, the enforcement state, and events."""
