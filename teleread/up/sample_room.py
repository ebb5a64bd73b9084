"""The reading room of the sample alliance: two pools, one overflow, shifts around the clock; numbers are made up."""

from __future__ import annotations

ROOM = """
# The reading room; docs/reading-room.md explains each table. What is changed here holds within seconds.
[[pool]]
id = "ecg"
name_zh = "心电"
name_en = "ECG"
valid_from = 2026-01-01
lead = "senior"
overflow = "partner"

[[pool]]
id = "imaging"
name_zh = "影像"
name_en = "Imaging"
valid_from = 2026-01-01
lead = "senior"
overflow = "partner"

# opened as well when something runs late
[[pool]]
id = "partner"
name_zh = "协作医院"
name_en = "Partner hospital"
valid_from = 2026-01-01
lead = "senior"

# the first that fits; OT is what nobody could read yet
[[route]]
id = "ecg"
pool = "ecg"
valid_from = 2026-01-01
modality = ["ECG", "OT"]

[[route]]
id = "everything-else"
pool = "imaging"
valid_from = 2026-01-01

[[licence]]
account = "reader"
valid_from = 2026-01-01
pool = ["ecg", "imaging"]

[[licence]]
account = "senior"
valid_from = 2026-01-01

# a day and a night for each pool; a shift that ends when it begins, or before, ends on the next day
[[shift]]
id = "ecg-day"
account = "reader"
pool = "ecg"
valid_from = 2026-01-01
begins = "08:00"
ends = "20:00"

[[shift]]
id = "ecg-night"
account = "reader"
pool = "ecg"
valid_from = 2026-01-01
begins = "20:00"
ends = "08:00"

[[shift]]
id = "imaging"
account = "reader"
pool = "imaging"
valid_from = 2026-01-01
begins = "08:00"
ends = "08:00"

[[shift]]
id = "ecg-senior"
account = "senior"
pool = "ecg"
valid_from = 2026-01-01
begins = "08:00"
ends = "08:00"

[[shift]]
id = "imaging-senior"
account = "senior"
pool = "imaging"
valid_from = 2026-01-01
begins = "08:00"
ends = "08:00"

[[shift]]
id = "partner-senior"
account = "senior"
pool = "partner"
valid_from = 2026-01-01
begins = "08:00"
ends = "08:00"

[[shift]]
id = "coordinator"
account = "coordinator"
role = "coordinator"
valid_from = 2026-01-01
begins = "08:00"
ends = "08:00"

# minutes from stored to signed
[[agreement]]
site = "*"
valid_from = 2026-01-01
urgent_min = 5
high_min = 15
routine_min = 60
rises_after_min = 240

# who is told of a critical value
[[contact]]
id = "riverside-desk"
site = "{clinic}"
name = "值班护士（示例）"
valid_from = 2026-01-01
order = 1
telephone = "0571-0000-0141"
account = "nurse"

[[contact]]
id = "riverside-doctor"
site = "{clinic}"
name = "值班医生（示例）"
valid_from = 2026-01-01
order = 2
telephone = "0571-0000-0142"

[[contact]]
id = "township-desk"
site = "township-clinic"
name = "分诊台（示例）"
valid_from = 2026-01-01
telephone = "0571-0000-0131"

[[contact]]
id = "county-desk"
site = "county-hospital"
name = "急诊科（示例）"
valid_from = 2026-01-01
telephone = "0571-0000-0151"

[[contact]]
id = "coordinator"
site = "*"
name = "远程中心协调员（示例）"
valid_from = 2026-01-01
role = "coordinator"
telephone = "0571-0000-0121"
account = "coordinator"

[[contact]]
id = "duty-officer"
site = "*"
name = "医联体总值班（示例）"
valid_from = 2026-01-01
role = "duty_officer"
telephone = "0571-0000-0122"
"""
