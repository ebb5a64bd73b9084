"""Small files of the XML formats, built from their published descriptions."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg import STANDARD_LEADS

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
Stored = NDArray[np.int64]


def stored(leads: int = 8, n: int = 600, seed: int = 1) -> Stored:
    """Whole numbers that look like an ECG to a compressor: smooth, with a spike now and then."""
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    rows = [200 * np.sin(t / (20 + k)) + 600 * (t % 250 == 40 + k) + rng.integers(-3, 4, n) for k in range(leads)]
    return np.rint(np.array(rows)).astype(np.int64)


def base64_of(row: Stored) -> str:
    text = base64.b64encode(row.astype("<i2").tobytes()).decode()
    return "\n".join(text[k : k + 76] for k in range(0, len(text), 76))


def muse_lead(lead: str, row: Stored, changes: Mapping[str, str] | None = None) -> str:
    raw = row.astype("<i2").tobytes()
    parts = {
        "LeadByteCountTotal": str(len(raw)),
        "LeadTimeOffset": "0",
        "LeadSampleCountTotal": str(row.size),
        "LeadAmplitudeUnitsPerBit": "4.88",
        "LeadAmplitudeUnits": "MICROVOLTS",
        "LeadID": lead,
        "LeadSampleSize": "2",
        "LeadDataCRC32": str(zlib.crc32(raw)),
        "WaveFormData": base64_of(row),
    } | dict(changes or {})
    return "<LeadData>" + "".join(f"<{k}>{v}</{k}>" for k, v in parts.items() if v) + "</LeadData>"


def muse_waveform(
    kind: str, leads: str, rate: str = "<SampleBase>500</SampleBase><SampleExponent>0</SampleExponent>"
) -> str:
    filters = "<HighPassFilter>5</HighPassFilter><LowPassFilter>150</LowPassFilter><ACFilter>50</ACFilter>"
    return f"<Waveform><WaveformType>{kind}</WaveformType>{rate}{filters}{leads}</Waveform>"


def muse(rows: Stored, names: Sequence[str] = EIGHT, inner: str = "", around: str = "", doctype: str = "") -> str:
    """A MUSE file: a median of other numbers stands before the rhythm."""
    median = muse_waveform(
        "Median", "".join(muse_lead(name, row[:60] + 9) for name, row in zip(names, rows, strict=True))
    )
    rhythm = inner or muse_waveform("Rhythm", "".join(muse_lead(n, r) for n, r in zip(names, rows, strict=True)))
    doctype = doctype or '<!DOCTYPE RestingECG SYSTEM "restecg.dtd">'
    return f'<?xml version="1.0" encoding="ISO-8859-1"?>\n{doctype}\n<RestingECG>{around}{median}{rhythm}</RestingECG>'


def aecg_sequence(lead: str, digits: Sequence[int], scale: str = "2.5", unit: str = "uV", origin: str = "0") -> str:
    return (
        f'<component><sequence><code code="{lead}"/><value xsi:type="SLIST_PQ"><origin value="{origin}" unit="{unit}"/>'
        f'<scale value="{scale}" unit="{unit}"/><digits>{" ".join(map(str, digits))}</digits></value></sequence>'
        "</component>"
    )


def aecg_time(
    head: str = 'value="20240131120000.000"', increment: str = 'value="0.002" unit="s"', kind: str = "TS"
) -> str:
    code = "TIME_ABSOLUTE" if kind == "TS" else "TIME_RELATIVE"
    return (
        f'<component><sequence><code code="{code}"/><value xsi:type="GLIST_{kind}"><head {head}/>'
        f"<increment {increment}/></value></sequence></component>"
    )


def aecg_series(*sets: str, code: str = "RHYTHM", around: str = "") -> str:
    inner = "".join(f"<component><sequenceSet>{one}</sequenceSet></component>" for one in sets)
    return f'<component><series><code code="{code}"/>{inner}{around}</series></component>'


def aecg(*series: str, around: str = "") -> str:
    return (
        '<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" type="Observation">'
        f"{around}{''.join(series)}</AnnotatedECG>"
    )


def lzw(data: bytes) -> bytes:
    """Codes of ten bits, most significant bit first; the table does not grow past its last code."""
    table = {bytes((k,)): k for k in range(256)}
    codes: list[int] = []
    text = b""
    for value in data:
        longer = text + bytes((value,))
        if longer in table:
            text = longer
            continue
        codes.append(table[text])
        if len(table) <= 1022:
            table[longer] = len(table)
        text = bytes((value,))
    codes += [table[text], 1023] if text else [1023]
    bits = "".join(f"{code:010b}" for code in codes)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def xli_chunk(row: Stored) -> bytes:
    """Second differences plus 64, each a place behind, in high bytes then low bytes."""
    second = np.diff(row, 2)
    first = -int(second[0]) if second.size else 0
    codes = np.concatenate((row[:2], 64 - second[1:], [64])).astype(np.int64) if second.size else row
    words = codes.astype(">i2").view(np.uint8).reshape(-1, 2)
    packed = lzw(words[:, 0].tobytes() + words[:, 1].tobytes())
    return len(packed).to_bytes(4, "little") + b"\x01\x00" + first.to_bytes(2, "little", signed=True) + packed


def xli(rows: Stored) -> str:
    """Twelve leads, the four dependent ones as residuals."""
    left = rows.copy()
    one, two, three, avr, avl, avf = (rows[k] for k in range(6))
    left[2] = two - one - three
    left[3] = -avr - (one + two) // 2
    left[4] = (one - three) // 2 - avl
    left[5] = (two + three) // 2 - avf
    return base64.b64encode(b"".join(xli_chunk(row) for row in left)).decode()


def sierra(
    rows: Stored,
    text: str,
    attributes: str = 'dataencoding="Base64" compression="XLI"',
    labels: Sequence[str] = STANDARD_LEADS,
    version: str = "1.04",
    around: str = "",
    rate: str = "<samplingrate>500</samplingrate>",
    step: str = "<resolution>5</resolution>",
) -> str:
    length_ms = rows.shape[1] * 2
    return (
        '<?xml version="1.0" encoding="utf-8"?><restingecgdata xmlns="http://www3.medical.philips.com">'
        f"<documentinfo><documenttype>PhilipsECG</documenttype><documentversion>{version}</documentversion>"
        '</documentinfo><dataacquisition date="2024-01-31" time="12:00:00">'
        '<machine machineid="M1" detaildescription="Philips:X:1.2">TC70'
        f"</machine><signalcharacteristics>{rate}{step}<acquisitiontype>STD-12</acquisitiontype>"
        "<numberchannelsallocated>12</numberchannelsallocated></signalcharacteristics></dataacquisition>"
        f'{around}<waveforms><parsedwaveforms {attributes} numberofleads="{len(labels)}" '
        f'leadlabels="{" ".join(labels)}" '
        f'durationperchannel="{length_ms}">{text}</parsedwaveforms></waveforms></restingecgdata>'
    )


def cardiosoft(
    rows: Stored, names: Sequence[str] = EIGHT, rate: str = "500", step: str = '<Resolution units="uVperLsb">5'
) -> str:
    data = "".join(
        f'<WaveformData lead="{name}">\n\t{",".join(map(str, row))},\n</WaveformData>'
        for name, row in zip(names, rows, strict=True)
    )
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?><!DOCTYPE CardiologyXML SYSTEM "x.dtd"><CardiologyXML>'
        "<ObservationDateTime><Hour>9</Hour><Minute>5</Minute><Second>7</Second><Day>31</Day><Month>1</Month>"
        "<Year>2024</Year></ObservationDateTime><ClinicalInfo><DeviceInfo><Desc>CardioSoft</Desc><SoftwareVer>6.7"
        "</SoftwareVer></DeviceInfo></ClinicalInfo><PatientInfo><PID>P7</PID><Name><FamilyName>Wang</FamilyName>"
        '<GivenName>Wu</GivenName></Name><Age units="Years">61</Age><Gender>FEMALE</Gender></PatientInfo>'
        "<FilterSetting><HighPass>0.05</HighPass><LowPass>150</LowPass><Filter50Hz>Yes</Filter50Hz></FilterSetting>"
        "<RestingECGMeasurements><VentricularRate>72</VentricularRate><QRSDuration>90</QRSDuration>"
        "<MedianSamples><SampleRate>500</SampleRate></MedianSamples></RestingECGMeasurements>"
        "<Interpretation><Diagnosis><DiagnosisText>x</DiagnosisText></Diagnosis><Statement>Sinus rhythm</Statement>"
        f'</Interpretation><StripData><SampleRate units="Hz">{rate}</SampleRate>{step}</Resolution>{data}</StripData>'
        "</CardiologyXML>"
    )


def mortara(
    rows: Stored, names: Sequence[str] = EIGHT, changes: str = 'BITS="16" FORMAT="SIGNED"', per_mv: str = "200"
) -> str:
    channels = "".join(
        f'<CHANNEL NAME="{name}" OFFSET="0" {changes} UNITS_PER_MV="{per_mv}" DURATION="{row.size}" SAMPLE_FREQ="1000" '
        f'ENCODING="BASE64" DATA="{base64_of(row)}"/>'
        for name, row in zip(names, rows, strict=True)
    )
    return (
        '<ECG ACQUISITION_TIME="20240131120000" AGE="61" AGE_UNITS="YEARS" VENT_RATE="72">'
        '<SUBJECT LAST_NAME="Wang" FIRST_NAME="Wu" ID="P7" GENDER="Female" DOB="19620203"/>'
        '<SOURCE MANUFACTURER="Mortara" MODEL="ELI 250" LOW_PASS_FILTER="150"/>'
        '<AUTOMATIC_INTERPRETATION><STATEMENT TEXT="Sinus rhythm" REASON="rate 72"/></AUTOMATIC_INTERPRETATION>'
        f'<TYPICAL_CYCLE QRS_DURATION="90" QRS_AXIS="-10"/>{channels}</ECG>'
    )


def schiller(rows: Stored, names: Sequence[str] = EIGHT, units: str = "uV", exponent: str = "1") -> str:
    channels = "".join(
        f"<channel><name>{name}</name><datastype>COMMASEPARATE</datastype><data>{','.join(map(str, row))}</data>"
        "</channel>"
        for name, row in zip(names, rows, strict=True)
    )
    resolution = (
        f"<resolution><samplerate><value>500</value><exponent>{exponent}</exponent></samplerate><yres><unitperbit>5"
        f"</unitperbit><units>{units}</units></yres></resolution>"
    )
    average = channels.replace("<data>", "<data>9,")
    return (
        '<?xml version="1.0"?><SchillerEDI xmlns="x"><patdata><id>P7</id><lastname>Wang</lastname>'
        "<firstname>Wu</firstname><birthdate>19620203</birthdate><gender>F</gender></patdata><eventdata><event>"
        "<startdatetime><date>20240131</date>"
        "<time>120000</time></startdatetime><annotation_global><name>HR</name><value>72</value></annotation_global>"
        f"<wavedata><type>ECG_AVERAGES</type>{resolution}{average}</wavedata>"
        f"<wavedata><type>ECG_RHYTHMS</type>{resolution}{channels}</wavedata></event></eventdata></SchillerEDI>"
    )


def zoncare(rows: Stored, leads: str = "12") -> str:
    block = np.vstack([rows, np.zeros((13 - rows.shape[0], rows.shape[1]), dtype=np.int64)]).T
    return (
        f"<zqecg><lead>{leads}</lead><sample>500</sample><second>{rows.shape[1] // 500}</second>"
        f"<data>{base64_of(block.reshape(-1))}</data></zqecg>"
    )


def sampled(data: str, **changes: object) -> dict[str, object]:
    return {
        "origin": {"value": 0, "unit": "uV", "system": "http://unitsofmeasure.org", "code": "uV"},
        "period": 2,
        "factor": 5,
        "dimensions": 1,
        "data": data,
    } | changes


def observation(components: Mapping[str, object], **changes: object) -> dict[str, object]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "34534-8"}]},
        "subject": {"reference": "Patient/p7"},
        "effectiveDateTime": "2024-01-31T12:00:00+08:00",
        "component": [
            {"code": {"coding": [{"code": code}]}, "valueSampledData": data} for code, data in components.items()
        ],
    } | changes


def fhir(rows: Stored, names: Sequence[str] = EIGHT, **changes: object) -> str:
    parts = {f"MDC_ECG_LEAD_{n}": sampled(" ".join(map(str, r))) for n, r in zip(names, rows, strict=True)}
    return json.dumps(observation(parts, **changes))
