"""The web service: pages for clinic, reader and engineer, and answers for programs."""
