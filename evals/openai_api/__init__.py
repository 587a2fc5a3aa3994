"""The OpenAI Evals, Files and Graders API: a second door to the same evals, runs, samples and scores as the pages."""
