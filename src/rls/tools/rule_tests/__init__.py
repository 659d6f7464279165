"""Tests of rules as data: given rules, requests at times on a simulated clock, and what is to be answered."""
