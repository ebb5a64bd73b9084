"""A county hospital and a clinic to try teleread with: real files, fictional people, loopback only."""
