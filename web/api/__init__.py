"""Answers for programs: JSON, samples and frames."""
