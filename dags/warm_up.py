"""### warm_up

Runs one empty task, so that the first real task does not pay for the cold start of Airflow's task API.

- **Schedule**: none; `teleread up` starts it once after Airflow.
- **Idempotence key**: none needed, it changes nothing.
- **When it fails**: Airflow itself does not run tasks. Look at the scheduler's and the API server's logs; nothing of
  teleread is involved.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, task


@dag(
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["teleread", "operations"],
    default_args={"owner": "teleread", "retries": 2, "retry_delay": timedelta(seconds=2)},
)
def warm_up() -> None:
    @task
    def nothing() -> None:
        """Do nothing."""

    nothing()


warm_up()
