"""Pages of evals, one subject a file: overview, datasets, comparisons."""
