"""The clinic's agent: takes recordings from a folder and brings them to the lead hospital over any line.

It uses nothing but Python's standard library, calls nothing that only POSIX has, and imports nothing else of
teleread at its start, so that it runs as one file on a PC that has only Python. Where numpy and the readers are
there as well, it judges the quality of a recording without a line.

    watch  →  spool (durable)  →  verdict here and at once
                 ↓
              sender  →  tus  →  receipt: only then the bytes may go
"""
