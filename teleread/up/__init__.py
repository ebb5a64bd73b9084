"""``teleread up``: Airflow, the web service and the sample alliance, started, watched and ended together."""
