"""Words for the printed sheet and the terminal, in English and Chinese: codes in, text out. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

LANGUAGES = ("en", "zh")

_WORDS: dict[str, tuple[str, str]] = {
    # the sheet itself
    "title_12": ("12-lead ECG", "十二导联心电图"),
    "title_n": ("{n}-lead ECG", "{n}导联心电图"),
    "title_1": ("ECG, one lead", "单导联心电图"),
    "unconfirmed": ("UNCONFIRMED", "未经医师确认 UNCONFIRMED"),
    "aid": (
        "Automatic, an unconfirmed aid; no flag never means normal. A licensed reader decides.",
        "自动分析结果未经确认,仅供参考;无提示不代表正常。以执业医师判读为准。",
    ),
    "print": ("print at 100 %", "请按100%比例打印"),
    "page": ("page {n} of {of}", "第{n}页,共{of}页"),
    "part": ("{start}–{end} s of {all} s", "第{start}–{end}秒,全长{all}秒"),
    "name": ("Name", "姓名"),
    "id": ("ID", "编号"),
    "sex": ("Sex", "性别"),
    "sex_M": ("male", "男"),
    "sex_F": ("female", "女"),
    "sex_O": ("other", "其他"),
    "age": ("Age", "年龄"),
    "years": ("years", "岁"),
    "unknown": ("unknown", "不详"),
    "recorded": ("Recorded", "采集时间"),
    "device": ("Device", "设备"),
    "device_filter": ("device filter", "设备滤波"),
    "filter_unknown": ("device filter unknown", "设备滤波不详"),
    "st_not_judged": ("ST not judged", "ST段未评估"),
    "st_filter": ("ST: do not judge from this print", "不得据此图评估ST段"),
    "quality_good": ("Recording acceptable", "图形质量合格"),
    "quality_bad": ("Recording NOT acceptable", "图形质量不合格"),
    "clipped": ("off scale", "超出范围"),
    "no_flags": ("No flag. That does not mean normal.", "无提示。不代表正常。"),
    "more": ("and {n} more", "另有{n}项"),
    "not_judged": ("Not judged", "未评估"),
    "limits_met": ("limits reached", "已达界值"),
    "assumed": ("unknown: {what}, most sensitive limit used", "{what}不详,采用最敏感界值"),
    "compare": ("Since the earlier recording", "与既往心电图相比"),
    "not_measured": ("–", "–"),
    # measurements
    "heart_rate_bpm": ("Rate", "心率"),
    "p_duration_ms": ("P", "P波时限"),
    "pr_ms": ("PR", "PR间期"),
    "qrs_duration_ms": ("QRS", "QRS时限"),
    "qt_ms": ("QT", "QT间期"),
    "qtc_ms": ("QTc", "QTc间期"),
    "axes": ("Axis P/QRS/T", "电轴P/QRS/T"),
    "rr_range": ("RR min–max", "RR最短–最长"),
    # rhythms
    "sinus_rhythm": ("sinus rhythm", "窦性心律"),
    "sinus_bradycardia": ("sinus bradycardia", "窦性心动过缓"),
    "sinus_tachycardia": ("sinus tachycardia", "窦性心动过速"),
    "sinus_arrhythmia": ("sinus arrhythmia", "窦性心律不齐"),
    "atrial_fibrillation": ("atrial fibrillation", "心房颤动"),
    "atrial_flutter": ("atrial flutter", "心房扑动"),
    "supraventricular_tachycardia": ("supraventricular tachycardia", "室上性心动过速"),
    "ventricular_tachycardia": ("ventricular tachycardia", "室性心动过速"),
    "ventricular_fibrillation": ("ventricular fibrillation", "心室颤动"),
    "asystole": ("asystole", "心脏停搏"),
    "junctional_rhythm": ("junctional rhythm", "交界性心律"),
    "idioventricular_rhythm": ("idioventricular rhythm", "室性自主心律"),
    "accelerated_idioventricular_rhythm": ("accelerated idioventricular rhythm", "加速性室性自主心律"),
    "paced_rhythm": ("paced rhythm", "起搏心律"),
    "undetermined": ("rhythm undetermined", "心律未能判定"),
    "regular": ("regular", "节律规则"),
    "irregular": ("irregular", "节律不规则"),
    # flags
    "long_rr": ("Long RR interval", "长RR间期"),
    "bradycardia_extreme": ("Very slow rate", "严重心动过缓"),
    "ventricular_tachycardia_fast": ("Fast ventricular tachycardia", "快速室性心动过速"),
    "wide_tachycardia": ("Fast wide-QRS rhythm", "宽QRS心动过速"),
    "supraventricular_tachycardia_fast": ("Fast supraventricular rhythm", "快速室上性心动过速"),
    "atrial_fibrillation_fast": ("Fast atrial fibrillation or flutter", "快速心房颤动或扑动"),
    "pre_excited_af_fast": ("Pre-excited atrial fibrillation", "心房颤动伴心室预激"),
    "av_block_3": ("Complete AV block", "三度房室阻滞"),
    "av_block_high_grade": ("High-grade AV block", "高度房室阻滞"),
    "qtc_long": ("Long QTc", "QTc间期延长"),
    "st_elevation_inferior": ("ST elevation, inferior", "下壁ST段抬高"),
    "st_elevation_anterior": ("ST elevation, anterior", "前壁ST段抬高"),
    "st_elevation_lateral": ("ST elevation, lateral", "侧壁ST段抬高"),
    "st_elevation_posterior": ("ST elevation, posterior", "后壁ST段抬高"),
    "st_elevation_right_ventricular": ("ST elevation, right ventricle", "右室ST段抬高"),
    "st_depression_posterior": ("ST depression V1–V3, posterior?", "V1–V3 ST段压低,后壁?"),
    "st_depression_diffuse": ("Diffuse ST depression with aVR or V1 elevation", "广泛ST段压低伴aVR或V1抬高"),
    "de_winter_pattern": ("de Winter pattern", "de Winter图形"),
    "wellens_pattern": ("Deep T inversion V2–V3 (Wellens?)", "V2–V3 T波深倒置(Wellens?)"),
    "infarction_recent_anterior": ("Q and ST V1–V4, recent infarction?", "V1–V4 Q波伴ST段抬高,近期心梗?"),
    "st_concordant": ("Concordant ST change (Sgarbossa)", "ST段同向改变(Sgarbossa)"),
    "hyperkalaemia_pattern": ("Tall T and wide QRS (high potassium?)", "T波高尖伴QRS增宽(高钾?)"),
    # why not judged
    "paced": ("paced", "起搏"),
    "lbbb": ("left bundle branch block", "左束支阻滞"),
    "rbbb": ("right bundle branch block", "右束支阻滞"),
    "lvh": ("hypertrophy suspected", "疑左室肥厚"),
    "pre_excitation": ("pre-excitation", "心室预激"),
    "ventricular_rhythm": ("ventricular rhythm", "室性心律"),
    "filter_narrow": ("narrow filter", "滤波过窄"),
    "lead_quality": ("poor lead", "导联质量差"),
    "lead_missing": ("lead not recorded", "未采集该导联"),
    "rhythm_unknown": ("rhythm not judged", "心律未判定"),
    "age_outside": ("age", "年龄不适用"),
    "switched_off": ("switched off", "已关闭"),
    # faults
    "flat": ("flat", "平直"),
    "off": ("off", "脱落"),
    "saturated": ("saturated", "饱和"),
    "mains": ("mains", "交流干扰"),
    "drift": ("drift", "基线漂移"),
    "burst": ("burst", "突发干扰"),
    "muscle": ("muscle", "肌电干扰"),
    "low_amplitude": ("low", "低电压"),
    "too_short": ("too short", "时间过短"),
    "undersampled": ("sampling too slow", "采样率过低"),
    "band_limited": ("band too narrow", "频带过窄"),
    "limb_reversal": ("limb electrodes swapped?", "肢体导联接反?"),
    "precordial_swap": ("chest electrodes swapped?", "胸导联接反?"),
    "einthoven": ("leads do not agree", "导联不一致"),
    "all_leads_bad": ("LOOK AT THE PATIENT", "请先查看患者"),
}

WORDS: Mapping[str, tuple[str, str]] = MappingProxyType(_WORDS)
"""(English, Chinese) by code."""


def word(code: str, language: str, **values: object) -> str:
    """The text of a code; the code itself, readable, where there is none."""
    pair = WORDS.get(code)
    text = code.replace("_", " ") if pair is None else pair[LANGUAGES.index(language)]
    return text.format(**values) if values else text
