"""The sample project: a fictional coffee shop's support agents, run by scripts of ours. Nothing here is a real customer or model."""
