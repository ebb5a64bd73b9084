"""### keep_records

Once a day: the ends of the audit chains are written to files (`anchors`; copy them elsewhere), the key that wraps the
keys of new objects is renewed every 30 days, old ones are retired once the vault and a backup hold all that stands
under them, and deletions that wait for that are ended.

- **Schedule**: daily.
- **Idempotence key**: the day of an anchor, the id of a key, the id of a deletion. What is done is left as it is.
- **When it fails**: the task's log names the part and its code; the others were done. The next day does it again.
  A key that "waits for backup" needs `teleread backup`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import dag, task


@dag(
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["teleread", "records"],
    default_args={"owner": "teleread", "retries": 2, "retry_delay": timedelta(minutes=5)},
)
def keep_records() -> None:
    @task(execution_timeout=timedelta(hours=1))
    def keep() -> dict[str, int]:
        """Anchors, keys, deletions."""
        from teleread.errors import StorageError
        from teleread.pipeline.daily import keep_records as round_of_the_day
        from teleread.services import running_services

        with running_services() as services:
            counts = round_of_the_day(services)
        if counts["failures"]:
            raise StorageError("records_not_kept", "A part of the day's round failed; the log above names it.")
        return counts

    keep()


keep_records()
