"""The catalogue's tables: what is held, what was derived from it, and who is to read it.

They are defined by subject in the ``*_tables`` modules and named here together, so that whoever uses or migrates the
catalogue has all of them. No identity stands in any. A patient is a random reading pseudonym; name, identifier and
birth date live in the vault alone. Times are aware UTC datetimes. Identifiers are strings; those named ``*_id``
without another remark are lower-case hexadecimal.
"""

from __future__ import annotations

from sqlalchemy import Column, String, Table

from teleread.storage.catalogue.agent_tables import agents as agents
from teleread.storage.catalogue.agent_tables import invitations as invitations
from teleread.storage.catalogue.audit_tables import AuditTables as AuditTables
from teleread.storage.catalogue.audit_tables import audit_tables as audit_tables
from teleread.storage.catalogue.clinic_tables import acknowledgements as acknowledgements
from teleread.storage.catalogue.clinic_tables import case_openings as case_openings
from teleread.storage.catalogue.clinic_tables import clinic_forms as clinic_forms
from teleread.storage.catalogue.columns import UtcDateTime as UtcDateTime
from teleread.storage.catalogue.columns import metadata as metadata
from teleread.storage.catalogue.object_tables import backups as backups
from teleread.storage.catalogue.object_tables import objects as objects
from teleread.storage.catalogue.object_tables import scrub_findings as scrub_findings
from teleread.storage.catalogue.object_tables import scrubs as scrubs
from teleread.storage.catalogue.object_tables import store_walks as store_walks
from teleread.storage.catalogue.object_tables import swept_objects as swept_objects
from teleread.storage.catalogue.patient_tables import deletions as deletions
from teleread.storage.catalogue.patient_tables import encounters as encounters
from teleread.storage.catalogue.patient_tables import identity_corrections as identity_corrections
from teleread.storage.catalogue.patient_tables import identity_questions as identity_questions
from teleread.storage.catalogue.patient_tables import legal_holds as legal_holds
from teleread.storage.catalogue.patient_tables import notices as notices
from teleread.storage.catalogue.patient_tables import patient_links as patient_links
from teleread.storage.catalogue.patient_tables import patients as patients
from teleread.storage.catalogue.people_tables import accounts as accounts
from teleread.storage.catalogue.people_tables import break_glass as break_glass
from teleread.storage.catalogue.people_tables import sessions as sessions
from teleread.storage.catalogue.people_tables import sign_in_attempts as sign_in_attempts
from teleread.storage.catalogue.people_tables import signing_keys as signing_keys
from teleread.storage.catalogue.reading_tables import alarms as alarms
from teleread.storage.catalogue.reading_tables import asked_readings as asked_readings
from teleread.storage.catalogue.reading_tables import contact_tests as contact_tests
from teleread.storage.catalogue.reading_tables import critical_steps as critical_steps
from teleread.storage.catalogue.reading_tables import criticals as criticals
from teleread.storage.catalogue.reading_tables import discrepancies as discrepancies
from teleread.storage.catalogue.reading_tables import drafts as drafts
from teleread.storage.catalogue.reading_tables import flag_verdicts as flag_verdicts
from teleread.storage.catalogue.reading_tables import indicator_cells as indicator_cells
from teleread.storage.catalogue.reading_tables import indicator_events as indicator_events
from teleread.storage.catalogue.reading_tables import item_events as item_events
from teleread.storage.catalogue.reading_tables import timers as timers
from teleread.storage.catalogue.site_tables import pull_ledger as pull_ledger
from teleread.storage.catalogue.site_tables import site_messages as site_messages
from teleread.storage.catalogue.site_tables import site_status as site_status
from teleread.storage.catalogue.study_tables import arrivals as arrivals
from teleread.storage.catalogue.study_tables import conflicts as conflicts
from teleread.storage.catalogue.study_tables import derived as derived
from teleread.storage.catalogue.study_tables import fingerprints as fingerprints
from teleread.storage.catalogue.study_tables import instances as instances
from teleread.storage.catalogue.study_tables import quarantine as quarantine
from teleread.storage.catalogue.study_tables import recordings as recordings
from teleread.storage.catalogue.study_tables import same_recordings as same_recordings
from teleread.storage.catalogue.study_tables import series as series
from teleread.storage.catalogue.study_tables import studies as studies
from teleread.storage.catalogue.work_tables import deliveries as deliveries
from teleread.storage.catalogue.work_tables import reports as reports
from teleread.storage.catalogue.work_tables import work_items as work_items

audit = audit_tables(metadata, "audit_events", "audit")
audit_events = audit.events

# One row: the oldest revision whose code may be started on this schema.
readers = Table("catalogue_readers", metadata, Column("oldest", String(32), primary_key=True))
