"""### sweep_arrivals

Picks up whatever was left: arrivals that landed more than 20 s ago and were not prepared or not queued, because a
process died between two steps, and reports that wait to be given back to their site.

- **Schedule**: every minute.
- **Idempotence key**: the arrival's id, the report's id. What is done is left as it is.
- **When it fails**: storage failed, or a site does not take its report. The task's log names the code; the rows stay
  and are taken up by the next run. Nothing needs to be cleared.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, task


@dag(
    schedule=timedelta(minutes=1),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["teleread", "preparation"],
    default_args={"owner": "teleread", "retries": 1, "retry_delay": timedelta(seconds=10)},
)
def sweep_arrivals() -> None:
    @task(execution_timeout=timedelta(minutes=10))
    def sweep() -> dict[str, int]:
        """Prepare what was left and give reports back."""
        from teleread.pipeline.sweep import sweep_all
        from teleread.services import running_services

        with running_services() as services:
            return sweep_all(services)

    sweep()


sweep_arrivals()
