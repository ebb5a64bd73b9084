"""Scripts that make the weight files of ``signal/ecg/weights`` from named data. Not part of the package."""
