"""### pull_hospitals

Fetches what the member hospitals have and we have not: one plan, then one mapped task for each site, each with its
own watermark, limits and time limit. What lands is handed on through the asset `teleread-arrivals`.

- **Schedule**: every two minutes. A site that failed is left out until its breaker lets it be tried again.
- **Idempotence key**: (site, SHA-256 of the bytes). A run that is repeated lands nothing twice.
- **When it fails**: only the task of the failing site is red; the others are done. Its cause stands in the task's log
  and on the engineer's page, with the time of the next try. Mend the site or its entry in the alliance file, then wait
  or run `teleread pull SITE`. Nothing needs to be cleared.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.exceptions import AirflowFailException
from airflow.sdk import Asset, dag, task

ARRIVALS = Asset("teleread-arrivals")


@dag(
    schedule=timedelta(minutes=2),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["teleread", "intake"],
    default_args={"owner": "teleread", "retries": 1, "retry_delay": timedelta(seconds=5)},
)
def pull_hospitals() -> None:
    @task(execution_timeout=timedelta(seconds=30))
    def plan() -> list[str]:
        """Ids of the sites that are due."""
        from teleread.pipeline.pull import due_sites
        from teleread.services import running_services

        with running_services() as services:
            return due_sites(services)

    @task(
        map_index_template="{{ site_id }}",
        execution_timeout=timedelta(seconds=100),
        max_active_tis_per_dagrun=3,
        outlets=[ARRIVALS],
    )
    def pull(site_id: str) -> dict[str, int]:
        """Land what one site has and we have not."""
        from airflow.sdk import get_current_context

        from teleread.errors import PeerError
        from teleread.pipeline.pull import pull_site
        from teleread.services import running_services

        get_current_context()["site_id"] = site_id
        with running_services() as services:
            try:
                outcome = pull_site(services, site_id)
            except PeerError as error:
                # the site's breaker decides when it is tried again, not Airflow
                raise AirflowFailException(f"{site_id}: {error}") from error
        return {"listed": outcome.listed, "landed": outcome.landed, "waiting": outcome.waiting}

    pull.expand(site_id=plan())


pull_hospitals()
