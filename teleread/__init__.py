"""teleread: hospitals in an alliance read each other's ECGs and images."""

__version__ = "0.1.0"
