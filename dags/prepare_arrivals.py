"""### prepare_arrivals

Prepares and enqueues what has landed: parse, measure, judge, pseudonymise, store, and into the reading queue. One
plan, then one mapped task for each batch of up to 256 arrivals, most urgent first.

- **Schedule**: whenever the asset `teleread-arrivals` was updated, that is, after each site's pull.
- **Idempotence key**: the arrival's id. What is prepared already is left as it is.
- **When it fails**: a broken study does not fail its batch: it is quarantined with its reason and reaches a reader as
  "not analysed" (`teleread quarantine list`, then `retry` after a fix). A red task means that storage failed; its
  arrivals stay landed and are swept up within a minute of its return.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Asset, dag, task


@dag(
    schedule=[Asset("teleread-arrivals")],
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["teleread", "preparation"],
    default_args={"owner": "teleread", "retries": 2, "retry_delay": timedelta(seconds=10)},
)
def prepare_arrivals() -> None:
    @task(execution_timeout=timedelta(seconds=60))
    def plan() -> list[list[str]]:
        """Ids of what waits, in batches."""
        from teleread.pipeline.batches import plan_batches
        from teleread.services import running_services

        with running_services() as services:
            return plan_batches(services)

    @task(execution_timeout=timedelta(minutes=20), max_active_tis_per_dagrun=2)
    def prepare(arrival_ids: list[str]) -> dict[str, int]:
        """Prepare and enqueue one batch."""
        from dataclasses import asdict

        from teleread.pipeline.batches import prepare_batch
        from teleread.services import running_services

        with running_services() as services:
            return asdict(prepare_batch(services, arrival_ids))

    prepare.expand(arrival_ids=plan())


prepare_arrivals()
