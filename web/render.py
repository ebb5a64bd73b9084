"""Templates: one Jinja environment per language, autoescaped, with the formats that pages use."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from teleread.alliance import Alliance
from teleread.reading.desk import Row
from teleread.reading.worklist import WorkItem
from teleread.web import case_report, critical_texts, electrodes, findings, readings, second_view, texts
from teleread.web import format as formats
from teleread.web.critical_view import Banner
from teleread.web.i18n import HTML_LANG, LANGUAGES, load_translations
from teleread.web.security import SAFE_METHODS, Seat

TEMPLATE_FOLDER = Path(__file__).parent / "templates"
STATIC_FOLDER = Path(__file__).parent / "static"

_TABLES = {
    "priority": texts.PRIORITIES,
    "reason": texts.REASONS,
    "case_state": texts.CASE_STATES,
    "identity_question": texts.IDENTITY_QUESTIONS,
    "identity_notice": texts.IDENTITY_NOTICES,
    "fault": findings.FAULTS,
    "remedy": findings.REMEDIES,
    "electrode": findings.ELECTRODES,
    "measurement": findings.MEASUREMENTS,
    "unit": findings.UNITS,
    "rhythm": readings.RHYTHMS,
    "rhythm_finding": readings.RHYTHM_FINDINGS,
    "flag": readings.FLAGS,
    "flag_note": readings.FLAG_NOTES,
    "not_judged": readings.NOT_JUDGED,
    "window": findings.WINDOWS,
    "connection_kind": findings.CONNECTIONS,
    "kind": findings.KINDS,
    "told": texts.TOLD,
    "item_kind": texts.ITEM_KINDS,
    "alarm_kind": texts.ALARMS,
    "alarm_todo": texts.ALARMS_TODO,
    "release_reason": texts.RELEASE_REASONS,
    "break_reason": texts.BREAK_REASONS,
    "flag_reason": texts.FLAG_REASONS,
    "assign_reason": texts.ASSIGN_REASONS,
    "chest_pain": texts.CHEST_PAIN,
    "onset": texts.ONSET,
    "pressure": texts.PRESSURE,
    "drug": texts.DRUGS,
    "consent": texts.CONSENT,
    "role": texts.ROLES,
    "indicator": texts.INDICATORS,
    "indicator_group": texts.GROUPS,
    "shift": texts.SHIFTS,
    "break_glass": texts.BREAK_GLASS,
    "report_kind": case_report.KINDS,
    "why_not_normal": case_report.WHY_NOT_NORMAL,
    "grade": second_view.GRADES,
}

HOMES = {
    "uploader": "/upload",
    "reader": "/worklist",
    "senior_reader": "/worklist",
    "coordinator": "/coordinator",
    "engineer": "/engineer",
    "auditor": "/audit",
    "administrator": "/people",
}


class Renderer:
    """Renders a page in the language of its seat."""

    def __init__(self, alliance: Alliance, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._alliance = alliance
        self._translations = translations = load_translations()
        self._environments = {
            language: _environment(alliance, language, translations[language]) for language in LANGUAGES
        }

    def translate(self, language: str) -> Callable[[str], str]:
        """The translation function of a language."""
        return self._translations[language].gettext

    def site_name(self, site_id: str, language: str) -> str:
        """A site's name in a language, its id when the alliance does not know it any more."""
        return _site_name(self._alliance, site_id, language)

    def html(self, request: Request, language: str, template: str, seat: Seat | None = None, **values: Any) -> str:
        """A template as text. ``seat`` is None where a request failed before anybody was known."""
        account = seat.account if seat else None
        values.setdefault("unrecorded", False)
        return (
            self._environments[language]
            .get_template(template)
            .render(
                account=account,
                home=HOMES.get(account.role, "/") if account else "/",
                path=request.url.path,
                back=_back(request),
                told=told if (told := request.query_params.get("told")) in texts.TOLD else "",
                now=self._clock(),
                alliance_name=self._alliance.name_zh if language == "zh" else self._alliance.name_en,
                telephone=self._alliance.telephone,
                critical_banner=Banner(seat),
                **values,
            )
        )

    def page(self, request: Request, seat: Seat, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """A template as a response."""
        return HTMLResponse(self.html(request, seat.language, template, seat, **values), status)


def page(request: Request, seat: Seat, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A template as a response, with the application's renderer."""
    renderer: Renderer = request.app.state.renderer
    return renderer.page(request, seat, template, status=status, **values)


def _environment(alliance: Alliance, language: str, translations: Any) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_translations(translations, newstyle=False)  # type: ignore[attr-defined]
    _ = translations.gettext
    zone = formats.zone(alliance.utc_offset_minutes)

    environment.globals.update(places=electrodes.PLACES, language=language, html_lang=HTML_LANG[language])
    environment.globals["utc_offset_minutes"] = alliance.utc_offset_minutes
    environment.filters.update(
        person=partial(formats.person_name, language=language),
        sex=partial(formats.sex_text, _=_),
        age=partial(formats.age_text, _=_),
        moment=partial(formats.time_text, tz=zone),
        at_clock=partial(formats.clock_text, tz=zone),
        at_second=partial(formats.second_text, tz=zone),
        wait=partial(formats.wait_text, _=_),
        ms=formats.milliseconds,
        filesize=formats.size_text,
        site=lambda site_id: _site_name(alliance, site_id, language),
        telephone_of=lambda site_id: site.telephone if (site := alliance.sites.get(site_id)) else "",
        modality=partial(_modality, _=_),
        modality_name=lambda code: _(texts.MODALITIES[code]) if code in texts.MODALITIES else code,
        problem=partial(texts.problem, _=_),
        identity_answers=partial(texts.answers, _=_),
        grouped=findings.grouped,
        electrodes=electrodes.marked,
        **{name: texts.lookup(table, _) for name, table in _TABLES.items()},
        **critical_texts.filters(_, language),
    )
    return environment


def _modality(item: WorkItem | Row, _: Callable[[str], str]) -> str:
    """A case's modality; the placeholder for "none" is no modality of what nobody could read."""
    known = item.modality != "OT" or item.analysed or item.study_id is not None
    return item.modality if known else _("unknown type")


def _back(request: Request) -> str:
    """Where the choice of a language leads back to; never to an address that only takes forms."""
    if request.method not in SAFE_METHODS:
        return "/"
    return f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path


def _site_name(alliance: Alliance, site_id: str, language: str) -> str:
    site = alliance.sites.get(site_id)
    return site.name(language) if site else site_id
